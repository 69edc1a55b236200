//! What is understood, what is asked back, and what is not understood.

use super::*;

fn shop() -> Intents {
    let mut intents = Intents::new();
    for (id, about, examples) in [
        (
            "ship_order",
            "Ships an order",
            &["send my package off", "dispatch order 42", "ship it to Berlin"][..],
        ),
        (
            "find_stock",
            "Looks up stock",
            &["how many are left", "is the red shirt in stock", "check the inventory"],
        ),
        (
            "mail_customer",
            "Writes to a customer",
            &["write the customer an email", "mail Anna that it is late"],
        ),
        ("/task", "Notes a task", &["remind me to call the bank", "note that I have to buy milk"]),
    ] {
        intents.add(id, about).unwrap();
        for example in examples {
            intents.example(id, *example).unwrap();
        }
    }
    intents
}

fn meant(intents: &Intents, text: &str) -> Vec<String> {
    let name = |wish: Wish| match wish.meaning {
        Meaning::Intent(guess) => guess.intent,
        Meaning::Ambiguous { guesses, .. } => {
            guesses.iter().map(|guess| &*guess.intent).collect::<Vec<_>>().join("?")
        }
        Meaning::None { .. } => "none".to_owned(),
    };
    intents.understand(text).into_iter().map(name).collect()
}

#[test]
fn wishes_are_told_apart_and_ordered() {
    let intents = shop();
    assert_eq!(meant(&intents, "dispatch order 17"), ["ship_order"]);
    assert_eq!(
        meant(&intents, "check the inventory and then dispatch order 17"),
        ["find_stock", "ship_order"]
    );
    assert_eq!(
        meant(&intents, "Before you dispatch order 17, check the inventory"),
        ["find_stock", "ship_order"]
    );
    assert_eq!(meant(&intents, "/task check the inventory"), ["/task"]);
    assert_eq!(meant(&intents, "what is the meaning of life"), ["none"]);
    assert_eq!(meant(&intents, ""), ["none"]);
    assert_eq!(meant(&Intents::new(), "dispatch order 17"), ["none"]);
}

#[test]
fn a_new_example_counts_at_once_and_is_forgotten_with_its_intent() {
    let mut intents = shop();
    assert_ne!(meant(&intents, "play some jazz"), ["music"]);
    intents.example("music", "play a song by Miles Davis").unwrap();
    intents.example("music", "play some jazz music").unwrap();
    assert_eq!(meant(&intents, "play some jazz"), ["music"]);
    let before = shop().guess("dispatch order 17", 9);
    intents.remove("music");
    let after = intents.guess("dispatch order 17", 9);
    assert_eq!(after.len(), before.len());
    for (after, before) in after.iter().zip(&before) {
        assert_eq!(after.intent, before.intent);
        assert!((after.confidence - before.confidence).abs() < 0.01);
    }
}

#[test]
fn two_likely_meanings_are_asked_about() {
    let mut intents = Intents::new();
    intents.add("cancel_order", "Cancels an order").unwrap();
    intents.add("cancel_invoice", "Cancels an invoice").unwrap();
    for what in ["order", "invoice"] {
        for example in ["cancel that", "please cancel that", "cancel that one"] {
            intents.example(&format!("cancel_{what}"), example).unwrap();
        }
    }
    let wishes = intents.understand("cancel that");
    let [Wish { meaning: Meaning::Ambiguous { question, .. }, .. }] = &*wishes else { panic!("{wishes:?}") };
    assert!(question.starts_with("Do you mean cancel_") && question.contains("an invoice)"), "{question}");
}

#[test]
fn text_of_any_script_and_length_is_taken() {
    let intents = shop();
    for text in [
        "\u{1f600}\u{202e}مرحبا بالعالم 東京タワー Привет".repeat(20_000),
        "and then ".repeat(120_000),
        "; ".repeat(500_000),
        "/".repeat(1 << 20),
    ] {
        assert!(intents.understand(&text).len() <= 8);
        let sum: f32 = intents.guess(&text, 9).iter().map(|guess| guess.confidence).sum();
        assert!((0.0..=1.001).contains(&sum));
    }
}

#[test]
fn what_went_wrong_has_a_page() {
    let failure = trunkline_model::Failure::from(Error::Full);
    let page = include_str!("../../../../docs/errors/TL8200.md");
    assert_eq!(page.lines().next(), Some(&*format!("# {} {}", failure.code, failure.title)));
}
