//! How well a candidate fits a parameter: what it looks like, what stands around it, and weights learned for these
//! (`training`).

use super::candidates::{Candidate, MAKES, Make, Reading};
use super::numbers;
use super::parameters::{Parameter, ROLES, Role, WANTS};
use super::spans;
use super::tokens::Kind;
use super::weights::WEIGHTS;

/// Words before a value that tell what part it plays.
const CLUES: [&str; 17] = [
    "from", "to", "in", "at", "on", "by", "for", "of", "with", "between", "near", "as", "about", "is", "and",
    "than", "called",
];

const MADE: usize = 0;
const CLUE: usize = MADE + WANTS * MAKES;
const PLAIN: usize = CLUE + ROLES * (CLUES.len() + 1);
const PLAINS: usize = 48;
const NOTHING: usize = PLAIN + PLAINS;
/// How many features there are.
pub(super) const ALL: usize = NOTHING + WANTS * 2 + 6;

/// Features that are not 0.
pub(super) type Features = Vec<(u16, f32)>;

/// How far from a word its influence goes, in tokens.
const REACH: usize = 10;

/// Where the words of a parameter stand in a request.
pub(super) struct Hits {
    name: Vec<(usize, f32)>,
    about: Vec<(usize, f32)>,
    /// The share of the name that is mentioned.
    named: f32,
}

impl Hits {
    pub(super) fn new(reading: &Reading<'_>, parameter: &Parameter) -> Self {
        let find = |stems: &[(String, f32)]| {
            let mut hits = Vec::new();
            for (at, token) in reading.text.tokens.iter().enumerate() {
                if token.kind == Kind::Word
                    && let Some((_, weight)) = stems.iter().find(|(stem, _)| *stem == token.stem)
                {
                    hits.push((at, *weight));
                }
            }
            hits
        };
        let name = find(&parameter.name);
        let total: f32 = parameter.name.iter().map(|(_, weight)| weight).sum();
        let mentioned = |stem: &String| name.iter().any(|(at, _)| reading.text.tokens[*at].stem == *stem);
        let had: f32 =
            parameter.name.iter().filter(|(stem, _)| mentioned(stem)).map(|(_, weight)| weight).sum();
        Self { named: if total > 0.0 { had / total } else { 0.0 }, about: find(&parameter.about), name }
    }
}

fn near(hits: &[(usize, f32)], from: usize, to: usize, after: bool) -> f32 {
    let distance = |at: usize| if after { at.checked_sub(to) } else { from.checked_sub(at + 1) };
    #[expect(clippy::cast_precision_loss, reason = "at most 10")]
    let of = |(at, weight): &(usize, f32)| {
        distance(*at)
            .filter(|distance| *distance <= REACH)
            .map_or(0.0, |distance| weight * (-(distance as f32) / 3.0).exp())
    };
    hits.iter().map(of).fold(0.0, f32::max)
}

/// The features of a candidate for a parameter. `tool` are the stems of the tool's name and description.
#[expect(clippy::cast_precision_loss, reason = "counts of words")]
pub(super) fn of(
    reading: &Reading<'_>,
    tool: &[String],
    parameter: &Parameter,
    hits: &Hits,
    candidate: &Candidate,
) -> Features {
    let mut features = Features::with_capacity(24);
    let mut set = |at: usize, value: f32| {
        if value != 0.0 {
            features.push((u16::try_from(at).unwrap_or(0), value));
        }
    };
    let tokens = &reading.text.tokens;
    let (from, to) = (candidate.from, candidate.to.min(tokens.len()));
    set(MADE + parameter.want as usize * MAKES + candidate.make as usize, 1.0);
    let (clue, opens) = clue(reading, from);
    set(CLUE + parameter.role as usize * (CLUES.len() + 1) + clue, 1.0);
    let mut plain = |at: usize, value: f32| set(PLAIN + at, value);
    let numeric = matches!(candidate.make, Make::Number | Make::Percent | Make::Money | Make::Ordinal);
    // What a number is stands on either side; names mostly before.
    let shift = if numeric { 0 } else { 4 };
    plain(shift, near(&hits.name, from, to, false));
    plain(shift + 1, near(&hits.name, from, to, true));
    plain(shift + 2, near(&hits.about, from, to, false));
    plain(shift + 3, near(&hits.about, from, to, true));
    let inside = |hits: &[(usize, f32)]| {
        hits.iter().filter(|(at, _)| (from..to).contains(at)).count() as f32 / (to - from).max(1) as f32
    };
    let named = candidate.make == Make::Name;
    plain(if named { 40 } else { 8 }, inside(&hits.name));
    plain(9, inside(&hits.about));
    // "radius of 5", "named Ann", "x = 3"
    let told = opens
        .checked_sub(1)
        .is_some_and(|at| hits.name.iter().any(|(hit, weight)| *hit == at && *weight > 0.3));
    let linked = opens < from && clue < CLUES.len()
        || opens.checked_sub(1).is_some_and(|at| opens == from && at < from);
    plain(10, f32::from(u8::from(told && linked)));
    plain(11, f32::from(u8::from(hits.name.iter().any(|(hit, weight)| *hit == to && *weight > 0.6))));
    plain(12, f32::from(u8::from(!candidate.whole)));
    if !numeric {
        told_in_words(reading, tool, parameter, candidate, &mut plain);
    }
    plain(22, from as f32 / tokens.len().max(1) as f32);
    if let Some(at) = candidate.number {
        number(reading, parameter, at, &mut plain);
    }
    if candidate.make == Make::Said {
        plain(31, if parameter.closed { 1.0 } else { 0.0 });
        plain(32, hits.named);
        let default = parameter.default.as_ref().is_some_and(|default| *default == candidate.value);
        plain(33, f32::from(u8::from(default)));
    }
    if matches!(candidate.make, Make::Yes | Make::No) {
        plain(34, hits.named);
        plain(35, f32::from(u8::from(hits.name.is_empty())));
    }
    features
}

/// What text says beside its value: its length, its capitals, its edges, and how alike it is to what is wanted.
#[expect(clippy::cast_precision_loss, reason = "counts of words")]
fn told_in_words(
    reading: &Reading<'_>,
    tool: &[String],
    parameter: &Parameter,
    candidate: &Candidate,
    plain: &mut impl FnMut(usize, f32),
) {
    let tokens = &reading.text.tokens;
    let (from, to) = (candidate.from, candidate.to.min(tokens.len()));
    let named = candidate.make == Make::Name;
    let place = parameter.role == Role::Place;
    plain(13, ((to - from).max(1) as f32).ln());
    plain(14, candidate.likeness);
    let known = (from..to).filter(|at| tool.contains(&tokens[*at].stem)).count() as f32;
    plain(15, known / (to - from).max(1) as f32);
    // Words with capitals around or within say that it is a name, cut or whole.
    plain(16, f32::from(u8::from(candidate.make == Make::Phrase && (from..to).all(|at| tokens[at].capital))));
    plain(
        17,
        f32::from(u8::from(
            candidate.make == Make::Phrase
                && to < tokens.len()
                && tokens[to].capital
                && tokens[to].kind == Kind::Word,
        )),
    );
    plain(18, f32::from(u8::from(named && place)));
    plain(
        19,
        f32::from(u8::from(
            tokens.get(to).is_none_or(|next| next.kind == Kind::Mark || spans::is_break(next)),
        )),
    );
    plain(
        20,
        f32::from(u8::from(
            from == 0 || spans::is_break(&tokens[from - 1]) || tokens[from - 1].kind == Kind::Mark,
        )),
    );
    // "Denver, Colorado" whole or cut, for a place or for something else.
    let comma = |at: usize| tokens.get(at).is_some_and(|token| token.lower == ",");
    let cut = named && comma(to) && tokens.get(to + 1).is_some_and(|next| next.capital);
    let holds = named && (from..to).any(comma);
    plain(41, f32::from(u8::from(cut && place)));
    plain(42, f32::from(u8::from(holds && place)));
    plain(43, f32::from(u8::from(cut && !place)));
    plain(44, f32::from(u8::from(holds && !place)));
    plain(45, f32::from(u8::from((from..to).any(|at| tokens[at].lower == "of"))));
    plain(21, f32::from(u8::from(candidate.make == Make::Said && !candidate.whole)));
}

/// What a number says beside its value: its unit, its turn, whether it could be a year.
#[expect(clippy::cast_precision_loss, reason = "counts of numbers")]
fn number(reading: &Reading<'_>, parameter: &Parameter, at: usize, plain: &mut impl FnMut(usize, f32)) {
    let number = &reading.numbers[at];
    let has = |stems: &[(String, f32)], word: &str| stems.iter().any(|(stem, _)| numbers::unit(stem) == word);
    if let Some(unit) = &number.unit {
        plain(23, f32::from(u8::from(has(&parameter.name, unit))));
        plain(24, f32::from(u8::from(has(&parameter.about, unit))));
    }
    let whole = number.value.fract() == 0.0;
    plain(25, f32::from(u8::from(!whole)));
    // "two numbers" counts what is told of, mostly.
    plain(36, f32::from(u8::from(number.word)));
    plain(37, f32::from(u8::from(number.word && parameter.role != Role::Quantity)));
    plain(38, f32::from(u8::from(number.unit.is_none())));
    // "the two numbers" of `a` and `b`.
    #[expect(clippy::float_cmp, reason = "a whole number")]
    plain(
        39,
        f32::from(u8::from(
            number.word
                && parameter.alike > 1
                && number.value == f64::from(u32::try_from(parameter.alike).unwrap_or(0)),
        )),
    );
    let year = whole && (1500.0..2100.0).contains(&number.value) && number.unit.is_none();
    let wants_year = has(&parameter.name, "year") || has(&parameter.name, "date");
    plain(26, f32::from(u8::from(year && wants_year)));
    plain(27, f32::from(u8::from(year && !wants_year)));
    plain(28, f32::from(u8::from(!year && wants_year && number.unit.is_none())));
    let turn = (at as f32 / reading.numbers.len().max(1) as f32
        - parameter.rank as f32 / parameter.alike.max(1) as f32)
        .abs();
    plain(29, turn);
    plain(30, f32::from(u8::from(at == parameter.rank)));
}

/// The word before a candidate that tells its part, and where what belongs to the candidate begins: after articles and quotes.
fn clue(reading: &Reading<'_>, from: usize) -> (usize, usize) {
    let tokens = &reading.text.tokens;
    let mut at = from;
    while at > 0
        && matches!(
            &*tokens[at - 1].lower,
            "the" | "a" | "an" | "'" | "\"" | "`" | "(" | "[" | ":" | "=" | "$" | "\u{201c}" | "my" | "say"
        )
        && from - at < 4
    {
        at -= 1;
    }
    let before = at.checked_sub(1).map_or("", |before| &*tokens[before].lower);
    let same = match before {
        "named" | "titled" | "known" => "called",
        "are" | "was" | "being" | "equals" => "is",
        "until" | "till" | "into" => "to",
        "since" | "starting" => "from",
        "within" | "inside" => "in",
        "using" | "via" => "with",
        "around" | "nearby" => "near",
        "over" | "under" | "above" | "below" => "than",
        "&" | "," | "or" => "and",
        other => other,
    };
    match CLUES.iter().position(|clue| *clue == same) {
        Some(clue) => (clue, at - 1),
        None => (CLUES.len(), at),
    }
}

/// The features of leaving a parameter out.
pub(super) fn of_nothing(parameter: &Parameter, hits: &Hits, candidates: usize) -> Features {
    let mut features = Features::with_capacity(6);
    let mut set = |at: usize, value: f32| features.push((u16::try_from(NOTHING + at).unwrap_or(0), value));
    set(parameter.want as usize * 2 + usize::from(parameter.required), 1.0);
    let rest = WANTS * 2;
    set(rest + usize::from(parameter.required), hits.named);
    set(rest + 2, f32::from(u8::from(hits.about.is_empty())));
    set(rest + 3, f32::from(u8::from(parameter.default.is_some())));
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    set(rest + 4, (1.0 + candidates as f32).ln());
    set(rest + 5, f32::from(u8::from(parameter.path.len() > 1)));
    features
}

/// What features come to.
pub(super) fn score(features: &Features) -> f32 {
    features.iter().map(|(at, value)| WEIGHTS.get(usize::from(*at)).copied().unwrap_or(0.0) * value).sum()
}
