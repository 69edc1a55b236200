//! What is found.

use super::*;

fn index(tools: &[(&str, &str)]) -> SearchIndex {
    let mut index = SearchIndex::default();
    for (name, description) in tools {
        index.insert(&Arc::from(*name), &Document { name, description, ..Document::default() });
    }
    index
}

fn found(index: &SearchIndex, request: &str) -> Vec<String> {
    index.search(request, 3, |_| true).into_iter().map(|hit| hit.key.to_string()).collect()
}

const SHOP: [(&str, &str); 5] = [
    ("createOrder", "Places an order for a customer."),
    ("cancelOrder", "Cancels an order that was placed."),
    ("getStock", "How many items of a kind are there."),
    ("createShipment", "Ships an order to an address."),
    ("refundPayment", "Gives a payment back."),
];

#[test]
fn tools_are_found_by_words_of_one_stem() {
    let index = index(&SHOP);
    assert_eq!(found(&index, "cancelling the orders")[0], "cancelOrder");
    assert_eq!(found(&index, "ship it to this address")[0], "createShipment");
    assert_eq!(found(&index, "quantum chromodynamics"), [""; 0]);
    let hits = index.search("refund the payment", 5, |key| key != "refundPayment");
    assert!(hits.iter().all(|hit| &*hit.key != "refundPayment"));
}

#[test]
fn each_of_several_wishes_finds_its_tool() {
    let found = found(&index(&SHOP), "cancel the order I placed and then give the payment back, please");
    assert!(found[..2].contains(&"cancelOrder".to_owned()), "{found:?}");
    assert!(found[..2].contains(&"refundPayment".to_owned()), "{found:?}");
}

#[test]
fn tools_come_and_go_in_place() {
    let mut index = index(&SHOP);
    assert!(index.remove("cancelOrder") && !index.remove("cancelOrder"));
    assert!(!found(&index, "cancel").contains(&"cancelOrder".to_owned()));
    let document = Document { name: "getStock", description: "Cancels nothing.", ..Document::default() };
    index.insert(&Arc::from("getStock"), &document);
    assert_eq!((&*found(&index, "cancel")[0], index.len()), ("getStock", 4));
}

#[test]
fn tools_are_found_by_what_words_mean() {
    let index = index(&SHOP);
    assert_eq!(found(&index, "send the parcel off")[0], "createShipment");
    assert_eq!(found(&index, "reimburse him")[0], "refundPayment");
}

#[test]
fn what_requests_led_to_is_learned_at_once_and_bounded() {
    let mut index = index(&SHOP);
    assert!(found(&index, "follow the Bob procedure").is_empty());
    index.learn("follow the Alice procedure", "refundPayment");
    assert_eq!(found(&index, "follow the Bob procedure")[0], "refundPayment");
    assert_eq!(found(&index, "cancel the order")[0], "cancelOrder");
    for number in 0..2_000 {
        index.learn(&format!("wish number {number} of {}", number * 7), "getStock");
    }
    assert_eq!(found(&index, "follow the Bob procedure")[0], "refundPayment");
    assert!(index.learned.len() <= 65);
}

#[test]
fn repetition_buys_no_rank_and_hostile_text_is_bounded() {
    let spam = "payment ".repeat(500);
    let mut tools = SHOP.to_vec();
    tools.push(("spam", &spam));
    let index = index(&tools);
    assert_eq!(found(&index, "refund a payment")[0], "refundPayment");
    for text in ["\u{1f600}".repeat(300_000), "a".repeat(1 << 20), "and, ".repeat(200_000), "\0".repeat(9)] {
        assert!(index.search(&text, 3, |_| true).len() <= 3);
    }
}

#[test]
fn an_encoder_finds_what_neither_words_nor_the_table_find_and_its_vectors_go_with_their_tool() {
    let mut index = index(&[("moon", "Zorble quux"), ("mail", "Send mail to a friend")]);
    let towards = |at: usize| (0..4).map(|number| f32::from(u8::from(number == at))).collect::<Box<[f32]>>();
    assert!(index.lacks_vector("moon"));
    index.set_vector("moon", &towards(1));
    index.set_vector("mail", &towards(2));
    index.set_vector("gone", &towards(3));
    let found = |index: &SearchIndex, at: usize| {
        let encoded = Encoded::of("blick florp", |_| Some(towards(at)));
        index.search_encoded("blick florp", &encoded, 1, |_| true).first().map(|hit| hit.key.to_string())
    };
    assert_eq!(found(&index, 1).as_deref(), Some("moon"));
    assert_eq!(found(&index, 2).as_deref(), Some("mail"));
    // A tool that says something else has to be encoded anew.
    index.insert(&Arc::from("moon"), &Document { name: "moon", ..Document::default() });
    assert!(index.lacks_vector("moon"));
    assert_ne!(found(&index, 1).as_deref(), Some("moon"));
}
