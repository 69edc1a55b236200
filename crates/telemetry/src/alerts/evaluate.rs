//! Expressions are evaluated over what is known of the last minutes, as Prometheus does, but for one thing: what a counter
//! grew is not extrapolated to the edges of the time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::Labels;
use super::history::{History, Sample};
use super::promql::{Aggregate, Binary, Expr, Function, Grouping, Operator, OverTime, Selector};
use crate::metrics::histogram::as_float;

/// A value of an expression.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(f64),
    Vector(Vec<(Labels, f64)>),
}

/// Evaluates an expression now.
pub(super) fn evaluate(expr: &Expr, history: &History) -> Result<Value, String> {
    Ok(match expr {
        Expr::Number(number) => Value::Scalar(*number),
        Expr::Select(selector) => {
            let now = history.now();
            let newest = |(labels, samples): (&Labels, &VecDeque<Sample>)| {
                // A series that is not there now is no more.
                let (_, value) = samples.back().filter(|(time, _)| *time == now)?;
                Some((labels.clone(), *value))
            };
            Value::Vector(history.select(selector).filter_map(newest).collect())
        }
        Expr::OverTime(over, selector, range) => Value::Vector(over_time(*over, selector, *range, history)),
        Expr::Call(function, arguments) => call(*function, arguments, history)?,
        Expr::Aggregate(aggregate, grouping, inner) => {
            Value::Vector(together(*aggregate, grouping, vector(evaluate(inner, history)?)?))
        }
        Expr::Negate(inner) => match evaluate(inner, history)? {
            Value::Scalar(number) => Value::Scalar(-number),
            Value::Vector(all) => {
                Value::Vector(all.into_iter().map(|(labels, value)| (labels, -value)).collect())
            }
        },
        Expr::Binary(binary, left, right) => {
            let (left, right) = (evaluate(left, history)?, evaluate(right, history)?);
            two(binary, left, right)?
        }
    })
}

fn vector(value: Value) -> Result<Vec<(Labels, f64)>, String> {
    match value {
        Value::Vector(all) => Ok(all),
        Value::Scalar(_) => Err("a number stands where series are needed".to_owned()),
    }
}

fn scalar(value: &Value) -> Result<f64, String> {
    match value {
        Value::Scalar(number) => Ok(*number),
        Value::Vector(_) => Err("series stand where a number is needed".to_owned()),
    }
}

fn over_time(over: OverTime, selector: &Selector, range: Duration, history: &History) -> Vec<(Labels, f64)> {
    let from = history.now() - i64::try_from(range.as_millis()).unwrap_or(i64::MAX / 2);
    let of = |(labels, samples): (&Labels, &VecDeque<Sample>)| {
        let within: Vec<Sample> = samples.iter().copied().filter(|(time, _)| *time >= from).collect();
        Some((labels.clone(), reckon(over, &within)?))
    };
    history.select(selector).filter_map(of).collect()
}

fn reckon(over: OverTime, samples: &[Sample]) -> Option<f64> {
    let values = || samples.iter().map(|(_, value)| *value);
    let count = as_float(samples.len() as u64);
    match over {
        OverTime::Rate | OverTime::Increase => {
            let (first, last) = (samples.first()?, samples.last()?);
            let seconds = as_float(u64::try_from(last.0 - first.0).ok()?) / 1e3;
            if seconds <= 0.0 {
                return None;
            }
            // A counter that is smaller than it was began anew.
            let grew = |two: &[Sample]| if two[1].1 < two[0].1 { two[1].1 } else { two[1].1 - two[0].1 };
            let grown: f64 = samples.windows(2).map(grew).sum();
            Some(if over == OverTime::Rate { grown / seconds } else { grown })
        }
        _ if samples.is_empty() => None,
        OverTime::Avg => Some(values().sum::<f64>() / count),
        OverTime::Min => values().reduce(f64::min),
        OverTime::Max => values().reduce(f64::max),
        OverTime::Sum => Some(values().sum()),
        OverTime::Count => Some(count),
    }
}

fn call(function: Function, arguments: &[Expr], history: &History) -> Result<Value, String> {
    let argument = |index: usize| evaluate(&arguments[index], history);
    let each = |of: &dyn Fn(f64) -> f64| -> Result<Value, String> {
        let all = vector(argument(0)?)?;
        Ok(Value::Vector(all.into_iter().map(|(labels, value)| (labels, of(value))).collect()))
    };
    match function {
        Function::HistogramQuantile => {
            let share = scalar(&argument(0)?)?;
            Ok(Value::Vector(quantiles(share, vector(argument(1)?)?)))
        }
        Function::Absent => {
            let there = !vector(argument(0)?)?.is_empty();
            Ok(Value::Vector(if there { Vec::new() } else { vec![(Labels::new(), 1.0)] }))
        }
        Function::Abs => each(&f64::abs),
        Function::Ceil => each(&f64::ceil),
        Function::Floor => each(&f64::floor),
        Function::ClampMin => {
            let least = scalar(&argument(1)?)?;
            each(&|value| value.max(least))
        }
        Function::ClampMax => {
            let most = scalar(&argument(1)?)?;
            each(&|value| value.min(most))
        }
        Function::Vector => Ok(Value::Vector(vec![(Labels::new(), scalar(&argument(0)?)?)])),
        Function::Time => {
            let seconds = u64::try_from(history.now()).unwrap_or(0);
            Ok(Value::Scalar(as_float(seconds) / 1e3))
        }
    }
}

/// Quantiles from buckets, linear within a bucket.
fn quantiles(share: f64, buckets: Vec<(Labels, f64)>) -> Vec<(Labels, f64)> {
    let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (mut labels, count) in buckets {
        let bound = labels.remove("le").and_then(|bound| match bound.as_str() {
            "+Inf" => Some(f64::INFINITY),
            bound => bound.parse().ok(),
        });
        if let Some(bound) = bound {
            histograms.entry(labels).or_default().push((bound, count));
        }
    }
    let of = |(labels, mut buckets): (Labels, Vec<(f64, f64)>)| {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total = buckets.last().filter(|(bound, _)| bound.is_infinite())?.1;
        if total <= 0.0 || buckets.len() < 2 {
            return None;
        }
        let rank = share * total;
        let index = buckets.iter().position(|(_, count)| *count >= rank)?;
        let (bound, count) = buckets[index];
        if bound.is_infinite() {
            return Some((labels, buckets[index - 1].0));
        }
        let (lower, below) = index.checked_sub(1).map_or((0.0, 0.0), |before| buckets[before]);
        let within = if count > below { (rank - below) / (count - below) } else { 0.0 };
        Some((labels, lower + (bound - lower) * within))
    };
    histograms.into_iter().filter_map(of).collect()
}

fn kept(labels: &Labels, grouping: &Grouping) -> Labels {
    let keeps = |name: &String| grouping.labels.contains(name) != grouping.without;
    labels.iter().filter(|(name, _)| keeps(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn together(aggregate: Aggregate, grouping: &Grouping, all: Vec<(Labels, f64)>) -> Vec<(Labels, f64)> {
    let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    for (labels, value) in all {
        groups.entry(kept(&labels, grouping)).or_default().push(value);
    }
    let of = |(labels, values): (Labels, Vec<f64>)| {
        let count = as_float(values.len() as u64);
        let value = match aggregate {
            Aggregate::Sum => values.iter().sum(),
            Aggregate::Avg => values.iter().sum::<f64>() / count,
            Aggregate::Min => values.into_iter().fold(f64::INFINITY, f64::min),
            Aggregate::Max => values.into_iter().fold(f64::NEG_INFINITY, f64::max),
            Aggregate::Count => count,
        };
        (labels, value)
    };
    groups.into_iter().map(of).collect()
}

fn number(operator: Operator, left: f64, right: f64) -> f64 {
    match operator {
        Operator::Add => left + right,
        Operator::Sub => left - right,
        Operator::Mul => left * right,
        Operator::Div => left / right,
        Operator::Mod => left % right,
        other => f64::from(u8::from(holds(other, left, right))),
    }
}

#[expect(clippy::float_cmp, reason = "PromQL compares so")]
fn holds(operator: Operator, left: f64, right: f64) -> bool {
    match operator {
        Operator::Eq => left == right,
        Operator::Ne => left != right,
        Operator::Gt => left > right,
        Operator::Lt => left < right,
        Operator::Ge => left >= right,
        Operator::Le => left <= right,
        _ => false,
    }
}

fn two(binary: &Binary, left: Value, right: Value) -> Result<Value, String> {
    let operator = binary.operator;
    let filters = operator.compares() && !binary.bool;
    let one = |labels: Labels, kept: f64, left: f64, right: f64| {
        if filters {
            holds(operator, left, right).then_some((labels, kept))
        } else {
            Some((labels, number(operator, left, right)))
        }
    };
    Ok(match (left, right) {
        _ if operator.is_set() && binary.bool => {
            return Err("bool stands with a comparison".to_owned());
        }
        (Value::Vector(left), Value::Vector(right)) if operator.is_set() => {
            Value::Vector(sets(operator, binary.on.as_ref(), left, right))
        }
        _ if operator.is_set() => return Err("and, or, unless stand between series".to_owned()),
        (Value::Scalar(left), Value::Scalar(right)) => Value::Scalar(number(operator, left, right)),
        (Value::Vector(all), Value::Scalar(right)) => Value::Vector(
            all.into_iter().filter_map(|(labels, left)| one(labels, left, left, right)).collect(),
        ),
        (Value::Scalar(left), Value::Vector(all)) => Value::Vector(
            all.into_iter().filter_map(|(labels, right)| one(labels, right, left, right)).collect(),
        ),
        (Value::Vector(left), Value::Vector(right)) => {
            let on = binary.on.as_ref();
            let mut by: HashMap<Labels, f64> = HashMap::new();
            for (labels, value) in right {
                if by.insert(agreeing(&labels, on), value).is_some() {
                    return Err("several series of the right side agree".to_owned());
                }
            }
            let mut seen = std::collections::HashSet::new();
            let mut out = Vec::new();
            for (labels, value) in left {
                let key = agreeing(&labels, on);
                let Some(other) = by.get(&key) else { continue };
                if !seen.insert(key.clone()) {
                    return Err("several series of the left side agree".to_owned());
                }
                out.extend(one(if filters { labels } else { key }, value, value, *other));
            }
            Value::Vector(out)
        }
    })
}

fn agreeing(labels: &Labels, on: Option<&Grouping>) -> Labels {
    on.map_or_else(|| labels.clone(), |grouping| kept(labels, grouping))
}

fn sets(
    operator: Operator,
    on: Option<&Grouping>,
    left: Vec<(Labels, f64)>,
    right: Vec<(Labels, f64)>,
) -> Vec<(Labels, f64)> {
    let keys = |all: &[(Labels, f64)]| -> std::collections::HashSet<Labels> {
        all.iter().map(|(labels, _)| agreeing(labels, on)).collect()
    };
    if operator == Operator::Or {
        let there = keys(&left);
        let more = right.into_iter().filter(|(labels, _)| !there.contains(&agreeing(labels, on)));
        return left.into_iter().chain(more).collect();
    }
    let there = keys(&right);
    let wanted = operator == Operator::And;
    left.into_iter().filter(|(labels, _)| there.contains(&agreeing(labels, on)) == wanted).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::parse::parse;
    use super::*;
    use crate::exposition::{Family, Kind};

    /// Two counters over ten minutes: `a` grows by 1 a second and begins anew once, `b` by 2.
    fn history() -> History {
        let mut history = History::new(["x_total".to_owned(), "g".to_owned()], Duration::from_secs(600));
        for tick in 0..=40_u32 {
            let mut counter = Family::new("x", Kind::Counter, "X.");
            let grown = f64::from(tick) * 15.0;
            let begun_anew = if tick >= 30 { grown - 450.0 } else { grown };
            counter.put(vec![("tool", Arc::from("a")), ("s", Arc::from("one"))], begun_anew);
            counter.put(vec![("tool", Arc::from("b")), ("s", Arc::from("one"))], grown * 2.0);
            let mut gauge = Family::new("g", Kind::Gauge, "G.");
            gauge.put(vec![("tool", Arc::from("a"))], f64::from(tick));
            history.take(&[counter, gauge], i64::from(tick) * 15_000 + 1_000_000);
        }
        history
    }

    fn values(text: &str) -> Vec<(String, f64)> {
        match evaluate(&parse(text).unwrap(), &history()).unwrap() {
            Value::Scalar(number) => vec![(String::new(), number)],
            Value::Vector(all) => {
                let name = |labels: &Labels| {
                    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
                };
                let mut all: Vec<_> = all.iter().map(|(labels, value)| (name(labels), *value)).collect();
                all.sort_by(|a, b| a.0.cmp(&b.0));
                all
            }
        }
    }

    #[test]
    fn expressions_come_to_what_they_should() {
        let near = |text: &str, expected: &[(&str, f64)]| {
            let found = values(text);
            assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
            for ((name, value), (wanted, number)) in found.iter().zip(expected) {
                assert!(name == wanted && (value - number).abs() < 1e-9, "{text}: {found:?}");
            }
        };
        near("1 + 2 * 3 - -1", &[("", 8.0)]);
        near("g", &[("tool=a", 40.0)]);
        near("rate(x_total{tool=\"b\"}[5m])", &[("s=one,tool=b", 2.0)]);
        // The step in which it began anew counts for what was counted since.
        near("rate(x_total{tool=\"a\"}[5m]) < 1", &[("s=one,tool=a", 0.95)]);
        near("sum by (s) (rate(x_total[2m]))", &[("s=one", 3.0)]);
        near("sum(x_total) without (tool)", &[("s=one", 1350.0)]);
        near("x_total{tool=~\"a|c\"} / ignoring (s) g", &[("tool=a", 150.0 / 40.0)]);
        near("g > bool 3", &[("tool=a", 1.0)]);
        near("g > 40 or g == 40", &[("tool=a", 40.0)]);
        near("x_total and on (tool) g", &[("s=one,tool=a", 150.0)]);
        near("x_total unless on (tool) g", &[("s=one,tool=b", 1200.0)]);
        near("absent(nothing)", &[("", 1.0)]);
        near("max_over_time(g[1m]) - min_over_time(g[1m])", &[("tool=a", 4.0)]);
        near("clamp_max(g, 7)", &[("tool=a", 7.0)]);
        near("count(x_total{tool!=\"a\"})", &[("", 1.0)]);
    }

    #[test]
    fn a_quantile_is_reckoned_within_its_bucket() {
        let bucket = |bound: &str, count: f64| (Labels::from([("le".to_owned(), bound.to_owned())]), count);
        let buckets = vec![bucket("0.1", 50.0), bucket("0.2", 100.0), bucket("+Inf", 100.0)];
        let quantile = quantiles(0.75, buckets);
        assert!((quantile[0].1 - 0.15).abs() < 1e-9);
        assert!(quantiles(0.5, vec![bucket("+Inf", 0.0)]).is_empty());
    }
}
