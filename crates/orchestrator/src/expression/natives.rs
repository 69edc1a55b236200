//! The functions that every expression may use and that are not written in jq: from values to one value.
//!
//! Each asks for room before it makes anything larger than its input, and counts its work.

use std::collections::HashMap;
use std::rc::Rc;

use super::budget::{Budget, Fault};
use super::syntax::NativeId;
use super::value::Val;

pub(super) mod arrays;
mod formats;
mod math;
pub(super) mod operators;
mod regex;
mod strings;
mod times;
mod values;

/// What functions need besides their values.
pub(super) struct Tools<'a> {
    pub(super) budget: &'a Budget,
    /// Compiled patterns by pattern and flags.
    patterns: HashMap<(String, String), Rc<regex::Pattern>>,
}

impl<'a> Tools<'a> {
    pub(super) fn new(budget: &'a Budget) -> Self {
        Self { budget, patterns: HashMap::new() }
    }
}

/// What a function gives.
pub(super) type Result<'a> = std::result::Result<Val<'a>, Fault<'a>>;

type Run = for<'a> fn(&mut Tools<'a>, Val<'a>, &[Val<'a>]) -> Result<'a>;

/// A function.
pub(super) struct Native {
    pub(super) name: &'static str,
    pub(super) arity: usize,
    run: Run,
}

const fn f(name: &'static str, arity: usize, run: Run) -> Native {
    Native { name, arity, run }
}

/// All functions; [`NativeId`] is the place in this.
pub(super) static TABLE: [Native; 110] = [
    f("not", 0, values::not),
    f("error", 0, values::error),
    f("error", 1, values::error_with),
    f("type", 0, values::kind),
    f("length", 0, values::length),
    f("tostring", 0, values::to_string),
    f("tonumber", 0, values::to_number),
    f("toboolean", 0, values::to_boolean),
    f("tojson", 0, values::to_json),
    f("fromjson", 0, values::from_json),
    f("keys", 0, values::keys),
    f("keys_unsorted", 0, values::keys_unsorted),
    f("has", 1, values::has),
    f("contains", 1, values::contains),
    f("to_entries", 0, values::to_entries),
    f("from_entries", 0, values::from_entries),
    f("setpath", 2, values::set_path),
    f("delpaths", 1, values::delete_paths),
    f("reverse", 0, arrays::reverse),
    f("flatten", 0, arrays::flatten),
    f("flatten", 1, arrays::flatten_to),
    f("transpose", 0, arrays::transpose),
    f("indices", 1, arrays::indices),
    f("_indices", 1, arrays::indices),
    f("index", 1, arrays::index),
    f("rindex", 1, arrays::rindex),
    f("bsearch", 1, arrays::bsearch),
    f("_sort_by", 1, arrays::sort_by),
    f("_group_by", 1, arrays::group_by),
    f("_min_by", 1, arrays::min_by),
    f("_max_by", 1, arrays::max_by),
    f("utf8bytelength", 0, strings::byte_length),
    f("ascii_downcase", 0, strings::downcase),
    f("ascii_upcase", 0, strings::upcase),
    f("trim", 0, strings::trim),
    f("ltrim", 0, strings::trim_start),
    f("rtrim", 0, strings::trim_end),
    f("startswith", 1, strings::starts_with),
    f("endswith", 1, strings::ends_with),
    f("ltrimstr", 1, strings::trim_prefix),
    f("rtrimstr", 1, strings::trim_suffix),
    f("trimstr", 1, strings::trim_both),
    f("split", 1, strings::split),
    f("join", 1, strings::join),
    f("explode", 0, strings::explode),
    f("implode", 0, strings::implode),
    f("_matches", 2, regex::matches),
    f("_pieces", 2, regex::pieces),
    f("@text", 0, values::to_string),
    f("@json", 0, values::to_json),
    f("@csv", 0, formats::csv),
    f("@tsv", 0, formats::tsv),
    f("@html", 0, formats::html),
    f("@uri", 0, formats::uri),
    f("@urid", 0, formats::from_uri),
    f("@sh", 0, formats::shell),
    f("@base64", 0, formats::base64),
    f("@base64d", 0, formats::from_base64),
    f("@base32", 0, formats::base32),
    f("@base32d", 0, formats::from_base32),
    f("gmtime", 0, times::broken_down),
    f("mktime", 0, times::seconds),
    f("strftime", 1, times::format),
    f("strptime", 1, times::parse),
    f("infinite", 0, |_, _, _| Ok(Val::float(f64::INFINITY))),
    f("nan", 0, |_, _, _| Ok(Val::float(f64::NAN))),
    f("isinfinite", 0, math::is_infinite),
    f("isnan", 0, math::is_nan),
    f("isnormal", 0, math::is_normal),
    f("abs", 0, math::abs),
    f("fabs", 0, |_, x, _| math::one(&x, f64::abs)),
    f("floor", 0, |_, x, _| math::whole(x, f64::floor)),
    f("ceil", 0, |_, x, _| math::whole(x, f64::ceil)),
    f("round", 0, |_, x, _| math::whole(x, f64::round)),
    f("trunc", 0, |_, x, _| math::whole(x, f64::trunc)),
    f("rint", 0, |_, x, _| math::whole(x, f64::round_ties_even)),
    f("nearbyint", 0, |_, x, _| math::whole(x, f64::round_ties_even)),
    f("sqrt", 0, |_, x, _| math::one(&x, f64::sqrt)),
    f("cbrt", 0, |_, x, _| math::one(&x, f64::cbrt)),
    f("exp", 0, |_, x, _| math::one(&x, f64::exp)),
    f("exp2", 0, |_, x, _| math::one(&x, f64::exp2)),
    f("exp10", 0, |_, x, _| math::one(&x, |x| 10f64.powf(x))),
    f("pow10", 0, |_, x, _| math::one(&x, |x| 10f64.powf(x))),
    f("expm1", 0, |_, x, _| math::one(&x, f64::exp_m1)),
    f("log", 0, |_, x, _| math::one(&x, f64::ln)),
    f("log2", 0, |_, x, _| math::one(&x, f64::log2)),
    f("log10", 0, |_, x, _| math::one(&x, f64::log10)),
    f("log1p", 0, |_, x, _| math::one(&x, f64::ln_1p)),
    f("sin", 0, |_, x, _| math::one(&x, f64::sin)),
    f("cos", 0, |_, x, _| math::one(&x, f64::cos)),
    f("tan", 0, |_, x, _| math::one(&x, f64::tan)),
    f("asin", 0, |_, x, _| math::one(&x, f64::asin)),
    f("acos", 0, |_, x, _| math::one(&x, f64::acos)),
    f("atan", 0, |_, x, _| math::one(&x, f64::atan)),
    f("sinh", 0, |_, x, _| math::one(&x, f64::sinh)),
    f("cosh", 0, |_, x, _| math::one(&x, f64::cosh)),
    f("tanh", 0, |_, x, _| math::one(&x, f64::tanh)),
    f("asinh", 0, |_, x, _| math::one(&x, f64::asinh)),
    f("acosh", 0, |_, x, _| math::one(&x, f64::acosh)),
    f("atanh", 0, |_, x, _| math::one(&x, f64::atanh)),
    f("pow", 2, |_, _, xs| math::two(xs, f64::powf)),
    f("atan2", 2, |_, _, xs| math::two(xs, f64::atan2)),
    f("fmod", 2, |_, _, xs| math::two(xs, |a, b| a % b)),
    f("fmin", 2, |_, _, xs| math::two(xs, f64::min)),
    f("fmax", 2, |_, _, xs| math::two(xs, f64::max)),
    f("hypot", 2, |_, _, xs| math::two(xs, f64::hypot)),
    f("copysign", 2, |_, _, xs| math::two(xs, f64::copysign)),
    f("ldexp", 2, |_, _, xs| math::two(xs, |a, b| a * b.exp2())),
    f("scalb", 2, |_, _, xs| math::two(xs, |a, b| a * b.exp2())),
    f("have_decnum", 0, |_, _, _| Ok(Val::Bool(false))),
];

/// Calls a function with its input and arguments.
pub(super) fn call<'a>(
    id: NativeId,
    tools: &mut Tools<'a>,
    input: Val<'a>,
    arguments: &[Val<'a>],
) -> Result<'a> {
    (TABLE[usize::from(id)].run)(tools, input, arguments)
}

/// The text that `value` is.
fn text_of<'v, 'a>(value: &'v Val<'a>, function: &str) -> std::result::Result<&'v str, Fault<'a>> {
    match value {
        Val::Str(text) => Ok(text),
        other => Err(Fault::raise(format!("{function} needs a string, not {}", other.shown()))),
    }
}
