//! Regular expressions, by a simulation of the automaton (Pike's VM) that counts every step.
//!
//! The engines of the `regex` crate take time in proportion to pattern and text, too, but cannot be stopped on the way.

use std::rc::Rc;

use regex_automata::nfa::thompson::{Compiler, Config, NFA, State, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;

use super::super::budget::{Budget, Fault, Stop};
use super::super::value::{Entries, ITEM, Str, Val};
use super::{Result, Tools};

/// How long a pattern may be.
const PATTERN_LENGTH: usize = 2000;

/// How many classes (`[…]`, `\w`, `\p{…}`) a pattern may have: one of all of Unicode, without regard to case, takes
/// milliseconds to compile, which nothing can stop.
const CLASSES: usize = 30;

/// How many bytes a compiled pattern may take: `\w` takes some 20 KB.
const PATTERN_SIZE: usize = 512 << 10;

/// A compiled pattern and what its flags ask for.
pub(super) struct Pattern {
    nfa: NFA,
    all: bool,
    skip_empty: bool,
    only_first: bool,
}

/// The bytes from and to that a group matched.
type Slots = Rc<[Option<usize>]>;

impl Pattern {
    fn new(pattern: &str, flags: &str) -> std::result::Result<Self, String> {
        if pattern.len() > PATTERN_LENGTH {
            return Err(format!("a pattern may be at most {PATTERN_LENGTH} bytes long"));
        }
        if classes(pattern) > CLASSES {
            return Err(format!("a pattern may have at most {CLASSES} classes such as [a-z] or \\w"));
        }
        let mut config = syntax::Config::new().nest_limit(50);
        let (mut all, mut skip_empty, mut only_first) = (false, false, false);
        for flag in flags.chars() {
            match flag {
                'g' => all = true,
                'n' => skip_empty = true,
                'i' => config = config.case_insensitive(true),
                'x' => config = config.ignore_whitespace(true),
                's' => config = config.dot_matches_new_line(true),
                'l' => {}
                'p' => config = config.dot_matches_new_line(true),
                '1' => only_first = true,
                _ => return Err(format!("{flags} is not a valid modifier string")),
            }
        }
        let limits = Config::new().which_captures(WhichCaptures::All).nfa_size_limit(Some(PATTERN_SIZE));
        let nfa = Compiler::new().syntax(config).configure(limits).build(pattern);
        let nfa =
            nfa.map_err(|why| format!("{pattern} (at offset 0) is not a valid regex: {}", whole(&why)))?;
        Ok(Self { nfa, all, skip_empty, only_first })
    }
}

/// The classes in `pattern`, or some more.
fn classes(pattern: &str) -> usize {
    let mut count = 0;
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        count += usize::from(match char {
            '[' => true,
            '\\' => chars.next().is_some_and(|escape| "dDsSwWpP".contains(escape)),
            _ => false,
        });
    }
    count
}

/// An error with its cause, which says what is wrong.
fn whole(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), whole)
}

/// The states that a simulation is in at one place of the text, in order of preference.
struct Threads {
    order: Vec<(StateID, Slots)>,
    /// The place of the text for which a state was last entered, plus one.
    seen: Vec<usize>,
}

/// The first match from `start` on, as the slots of its groups.
fn find(nfa: &NFA, text: &[u8], start: usize, budget: &Budget) -> std::result::Result<Option<Slots>, Stop> {
    let states = nfa.states().len();
    let groups = nfa.group_info().slot_len();
    let _held = budget.hold(2 * states * (size_of::<(StateID, Slots)>() + 8 + groups * 16))?;
    let list = || Threads { order: Vec::new(), seen: vec![0; states] };
    budget.work(states / 4)?;
    let (mut now, mut then) = (list(), list());
    let mut found = None;
    for at in start..=text.len() {
        budget.step()?;
        if found.is_none() {
            let fresh: Slots = vec![None; groups].into();
            enter(nfa, text, at, nfa.start_anchored(), fresh, &mut now, budget)?;
        }
        if now.order.is_empty() {
            break;
        }
        let byte = text.get(at).copied();
        for (state, slots) in now.order.drain(..) {
            budget.step()?;
            let next = match (nfa.state(state), byte) {
                (State::Match { .. }, _) => {
                    // What comes after is less preferred.
                    found = Some(slots);
                    break;
                }
                (State::ByteRange { trans }, Some(byte)) => trans.matches_byte(byte).then_some(trans.next),
                (State::Sparse(sparse), Some(byte)) => sparse.matches_byte(byte),
                (State::Dense(dense), Some(byte)) => dense.matches_byte(byte),
                _ => None,
            };
            if let Some(next) = next {
                enter(nfa, text, at + 1, next, slots, &mut then, budget)?;
            }
        }
        std::mem::swap(&mut now, &mut then);
        then.order.clear();
    }
    Ok(found)
}

/// Adds `state` and all that is reached from it without reading.
fn enter(
    nfa: &NFA,
    text: &[u8],
    at: usize,
    state: StateID,
    slots: Slots,
    threads: &mut Threads,
    budget: &Budget,
) -> std::result::Result<(), Stop> {
    let mut open = vec![(state, slots)];
    while let Some((state, slots)) = open.pop() {
        budget.step()?;
        if std::mem::replace(&mut threads.seen[state.as_usize()], at + 1) == at + 1 {
            continue;
        }
        match nfa.state(state) {
            State::Look { look, next } => {
                if nfa.look_matcher().matches(*look, text, at) {
                    open.push((*next, slots));
                }
            }
            State::Union { alternates } => {
                budget.work(alternates.len())?;
                open.extend(alternates.iter().rev().map(|next| (*next, slots.clone())));
            }
            State::BinaryUnion { alt1, alt2 } => {
                open.push((*alt2, slots.clone()));
                open.push((*alt1, slots));
            }
            State::Capture { next, slot, .. } => {
                let mut slots = slots.to_vec();
                budget.work(slots.len() / 4)?;
                slots[slot.as_usize()] = Some(at);
                open.push((*next, slots.into()));
            }
            State::Fail => {}
            _ => threads.order.push((state, slots)),
        }
    }
    Ok(())
}

/// All the matches that the flags ask for.
fn find_all<'a>(
    pattern: &Pattern,
    text: &str,
    budget: &Budget,
) -> std::result::Result<Vec<Slots>, Fault<'a>> {
    let mut held = budget.hold(0)?;
    let mut matches = Vec::new();
    let mut start = 0;
    while start <= text.len() {
        let Some(slots) = find(&pattern.nfa, text.as_bytes(), start, budget)? else { break };
        let (Some(from), Some(to)) = (slots[0], slots[1]) else { break };
        start = if to > from {
            to
        } else {
            to + text.get(to..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
        };
        if pattern.skip_empty && from == to {
            continue;
        }
        held.grow(size_of::<Slots>() + slots.len() * 16)?;
        matches.push(slots);
        if !pattern.all || pattern.only_first {
            break;
        }
    }
    Ok(matches)
}

/// Pattern and text of a call.
fn read<'a>(
    tools: &mut Tools<'a>,
    input: Val<'a>,
    arguments: &[Val<'a>],
) -> std::result::Result<(Rc<Pattern>, Str<'a>), Fault<'a>> {
    let Val::Str(text) = input else {
        return Err(Fault::raise(format!("{} cannot be matched, as it is not a string", input.shown())));
    };
    let pattern = match &arguments[0] {
        Val::Str(pattern) => pattern.to_string(),
        other => {
            return Err(Fault::raise(format!("{} cannot be matched, as it is not a string", other.shown())));
        }
    };
    let flags = match &arguments[1] {
        Val::Null => String::new(),
        Val::Str(flags) => flags.chars().take(20).collect(),
        other => return Err(Fault::raise(format!("{} is not a string", other.shown()))),
    };
    let key = (pattern, flags);
    if let Some(compiled) = tools.patterns.get(&key) {
        return Ok((compiled.clone(), text));
    }
    tools.budget.room(2 * PATTERN_SIZE)?;
    // Compiling takes some 100 µs for a pattern of this length, or a few ms if it is made for that.
    tools.budget.work(2000 + 50 * key.0.len().min(PATTERN_LENGTH))?;
    let compiled = Rc::new(Pattern::new(&key.0, &key.1).map_err(Fault::raise)?);
    // Only a few, so that their memory need not be counted.
    if tools.patterns.len() >= 4 {
        tools.patterns.clear();
    }
    tools.patterns.insert(key, compiled.clone());
    Ok((compiled, text))
}

/// Counts characters up to growing byte offsets.
struct Places<'t> {
    text: &'t str,
    byte: usize,
    chars: usize,
}

impl Places<'_> {
    fn at(&mut self, byte: usize) -> usize {
        if byte < self.byte {
            (self.byte, self.chars) = (0, 0);
        }
        self.chars += self.text.get(self.byte..byte).map_or(0, |between| between.chars().count());
        self.byte = byte;
        self.chars
    }
}

/// A match as jq shows it.
fn shown<'a>(
    pattern: &Pattern,
    text: &str,
    slots: &Slots,
    places: &mut Places<'_>,
    budget: &Budget,
) -> Result<'a> {
    let mut captures = Vec::new();
    let names: Vec<_> = pattern.nfa.group_info().pattern_names(regex_automata::PatternID::ZERO).collect();
    for (pair, name) in slots.chunks_exact(2).zip(&names).skip(1) {
        let mut capture = part(text, pair, places, budget)?;
        let name = match name {
            Some(name) => Val::text((*name).to_owned(), budget)?,
            None => Val::Null,
        };
        capture.insert(Str::Lent("name"), name);
        captures.push(Val::object(capture, budget)?);
    }
    let mut whole = part(text, &slots[..2], places, budget)?;
    whole.insert(Str::Lent("captures"), Val::array(captures, budget)?);
    Ok(Val::object(whole, budget)?)
}

fn part<'a>(
    text: &str,
    pair: &[Option<usize>],
    places: &mut Places<'_>,
    budget: &Budget,
) -> std::result::Result<Entries<'a>, Fault<'a>> {
    let (offset, length, string) = match pair {
        [Some(from), Some(to)] => {
            let part = text.get(*from..*to).unwrap_or("");
            budget.room(part.len())?;
            budget.scan(from.abs_diff(places.byte) + part.len())?;
            (Val::int(places.at(*from)), part.chars().count(), Val::text(part.to_owned(), budget)?)
        }
        _ => (Val::Num(super::super::number::Num::Int(-1)), 0, Val::Null),
    };
    let entries = [("offset", offset), ("length", Val::int(length)), ("string", string)];
    Ok(entries.into_iter().map(|(key, value)| (Str::Lent(key), value)).collect())
}

pub(super) fn matches<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let (pattern, text) = read(tools, input, arguments)?;
    let budget = tools.budget;
    let mut held = budget.hold(0)?;
    let mut places = Places { text: &text, byte: 0, chars: 0 };
    let mut found = Vec::new();
    for slots in find_all(&pattern, &text, budget)? {
        held.grow(ITEM)?;
        found.push(shown(&pattern, &text, &slots, &mut places, budget)?);
    }
    Ok(Val::list(found, held)?)
}

/// The strings between the matches, and the matches between them.
pub(super) fn pieces<'a>(tools: &mut Tools<'a>, input: Val<'a>, arguments: &[Val<'a>]) -> Result<'a> {
    let (pattern, text) = read(tools, input, arguments)?;
    let budget = tools.budget;
    let mut held = budget.hold(0)?;
    let mut places = Places { text: &text, byte: 0, chars: 0 };
    let mut found = Vec::new();
    let mut done = 0;
    for slots in find_all(&pattern, &text, budget)? {
        held.grow(2 * ITEM)?;
        let (from, to) = (slots[0].unwrap_or(done), slots[1].unwrap_or(done));
        let between = text.get(done..from).unwrap_or("");
        budget.room(between.len())?;
        found.push(Val::text(between.to_owned(), budget)?);
        found.push(shown(&pattern, &text, &slots, &mut places, budget)?);
        done = to;
    }
    held.grow(ITEM)?;
    let rest = text.get(done..).unwrap_or("");
    budget.room(rest.len())?;
    found.push(Val::text(rest.to_owned(), budget)?);
    Ok(Val::list(found, held)?)
}
