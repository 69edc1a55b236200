//! How calls are spread, in virtual time.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;
use crate::outlier::Outliers;

/// Chance with a seed (splitmix64).
fn chance(seed: u64) -> Chance {
    let state = AtomicU64::new(seed);
    Arc::new(move || {
        let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        #[expect(clippy::cast_precision_loss, reason = "a number from 0 to 1")]
        let uniform = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        uniform
    })
}

fn endpoints(count: usize, now: Instant) -> Vec<Arc<Endpoint>> {
    (0..count).map(|n| Endpoint::new(Instance::at(&format!("http://10.0.0.{n}/")), now)).collect()
}

fn balancer(policy: Policy) -> Balancer {
    Balancer::new(BalanceConfig { policy, ..BalanceConfig::default() }, chance(7))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Calls that take `times` at the instances, `at_once` of them at a time; gives how many each had.
fn run(
    balancer: &Balancer,
    all: &[Arc<Endpoint>],
    times: &[u64],
    at_once: usize,
    calls: usize,
) -> Vec<usize> {
    let mut now = Instant::now();
    let mut counts = vec![0; all.len()];
    let mut running: Vec<(Instant, usize, Flight<'_>)> = Vec::new();
    for number in 0..calls {
        if running.len() == at_once {
            running.sort_by_key(|(end, ..)| *end);
            let (end, _, flight) = running.remove(0);
            now = now.max(end);
            flight.answered(now);
        }
        let index = balancer.pick(all, &[], &format!("c{number}"), now).unwrap();
        counts[index] += 1;
        running.push((now + ms(times[index]), index, all[index].begin(now)));
    }
    counts
}

#[test]
fn a_slow_instance_gets_few_calls_and_a_round_robin_gives_it_a_third() {
    let all = endpoints(3, Instant::now());
    let counts = run(&balancer(Policy::PeakEwma), &all, &[10, 200, 10], 8, 10_000);
    assert!(counts[1] < 100, "{counts:?}");
    assert!(counts[0].abs_diff(counts[2]) < 1_000, "{counts:?}");
    let all = endpoints(3, Instant::now());
    let counts = run(&balancer(Policy::RoundRobin), &all, &[10, 200, 10], 8, 9_999);
    assert_eq!(counts, [3_333; 3]);
}

#[test]
fn weights_and_zones_are_respected() {
    let now = Instant::now();
    let of = |url: &str, zone: &str, weight| {
        let zone = Some(zone.to_owned());
        Endpoint::new(Instance { zone, weight, ..Instance::at(url) }, now)
    };
    let all = [of("a", "x", 1), of("b", "x", 3), of("c", "y", 4), of("d", "x", 0)];
    let near =
        BalanceConfig { policy: Policy::RoundRobin, zone: Some("x".to_owned()), ..BalanceConfig::default() };
    let near = Balancer::new(near, chance(1));
    assert_eq!(run(&near, &all, &[1; 4], 1, 400), [100, 300, 0, 0]);
    // Where none of the zone is well, the others have to do.
    for one in &all[..2] {
        one.saw(Sign::Check, Some(Arc::from("down")), now);
    }
    assert_eq!(run(&near, &all, &[1; 4], 1, 10), [0, 0, 10, 0]);
    // Where none is well at all, all are tried that may be.
    all[2].saw(Sign::Connection, Some(Arc::from("down")), now);
    assert_eq!(run(&near, &all, &[1; 4], 1, 400), [100, 300, 0, 0]);
    assert_eq!(near.pick(&all, &[0, 1, 2], "", now), None);
}

#[test]
fn a_new_instance_begins_slowly() {
    let now = Instant::now();
    let config =
        BalanceConfig { policy: Policy::LeastRequests, slow_start_ms: 100_000, ..BalanceConfig::default() };
    let balancer = Balancer::new(config, chance(3));
    let mut all = endpoints(1, now);
    let later = now + ms(200_000);
    all.push(Endpoint::new(Instance::at("new"), later));
    let held: Vec<_> = (0..4).map(|_| all[0].begin(later)).collect();
    // Four to none is not yet enough for one that takes a tenth.
    let picks = |at| (0..100).filter(|_| balancer.pick(&all, &[], "", at) == Some(1)).count();
    assert_eq!(picks(later), 0);
    assert_eq!(picks(later + ms(50_000)), 100);
    drop(held);
}

#[test]
fn a_failure_and_a_wish_to_be_left_alone_count_as_slow_calls() {
    let now = Instant::now();
    let all = endpoints(2, now);
    let balancer = balancer(Policy::PeakEwma);
    for one in &all {
        one.begin(now).answered(now + ms(10));
    }
    // Not for a year.
    all[0].begin(now).failed(now, Some(Duration::from_secs(31_536_000)));
    let other = |at| (0..100).filter(|_| balancer.pick(&all, &[], "", at) == Some(1)).count();
    assert_eq!(other(now + ms(1_000)), 100);
    let later = now + ms(30_000);
    all[1].begin(later).answered(later + ms(10));
    assert_eq!(other(later), 100);
    let much_later = now + ms(200_000);
    all[1].begin(much_later).answered(much_later + ms(10));
    assert_eq!(other(much_later), 0, "nobody has looked for so long that it is worth a try");
}

proptest! {
    #[test]
    fn only_those_who_stuck_to_an_instance_move_when_it_goes(count in 2_usize..12, seed in any::<u64>()) {
        let now = Instant::now();
        let all = endpoints(count, now);
        let balancer = balancer(Policy::Sticky);
        let gone = (seed % count as u64) as usize;
        let mut moved = 0;
        for conversation in 0..500_u64 {
            let key = format!("{seed}/{conversation}");
            let before = balancer.pick(&all, &[], &key, now).unwrap();
            prop_assert_eq!(before, balancer.pick(&all, &[], &key, now).unwrap());
            let after = balancer.pick(&all, &[gone], &key, now).unwrap();
            prop_assert!(before == gone || before == after);
            moved += usize::from(before == gone);
        }
        prop_assert!(moved <= 500 * 2 / count + 40, "{} of 500 among {}", moved, count);
    }

    #[test]
    fn no_more_are_left_out_than_may_be(
        count in 1_usize..9, share in 0.0..1.0_f64,
        seen in prop::collection::vec((0_usize..9, any::<bool>(), 0_u64..3_000), 0..600),
    ) {
        let mut now = Instant::now();
        let all = endpoints(count, now);
        let config = OutlierConfig { max_share: share, min_calls: 3, min_instances: 3, ..OutlierConfig::default() };
        let outliers = Outliers::new(config, now);
        let most = if count < 2 { 0 } else { ((count as f64 * share) as usize).clamp(1, count - 1) };
        let mut ends: HashMap<usize, Instant> = HashMap::new();
        for (which, good, pause) in seen {
            now += ms(pause);
            outliers.saw(&all, &all[which % count], good, now);
            let out: Vec<usize> = (0..count).filter(|&n| !all[n].is_usable(now)).collect();
            prop_assert!(out.len() <= most);
            for n in out {
                ends.insert(n, now);
                prop_assert!(all[n].status(now).cause.is_some());
            }
        }
        // Nobody is left out for ever.
        now += Duration::from_secs(301);
        prop_assert!(all.iter().all(|one| one.is_usable(now)));
    }
}

#[test]
fn a_check_that_goes_well_brings_back_what_was_left_out() {
    let now = Instant::now();
    let all = endpoints(3, now);
    let outliers = Outliers::new(OutlierConfig::default(), now);
    for n in 0..5 {
        assert_eq!(outliers.saw(&all, &all[0], false, now), n == 4);
    }
    assert!(!all[0].is_usable(now));
    assert_eq!(&*all[0].status(now).cause.unwrap(), "it failed 5 times in a row: left out for 30s");
    assert!(all[0].saw(Sign::Check, None, now));
    assert!(all[0].is_usable(now));
    // The next time takes longer.
    for _ in 0..5 {
        outliers.saw(&all, &all[0], false, now);
    }
    assert!(!all[0].is_usable(now + ms(59_000)));
    assert!(all[0].is_usable(now + ms(61_000)));
}

#[test]
fn an_instance_that_is_far_worse_than_the_others_is_left_out() {
    let mut now = Instant::now();
    let all = endpoints(6, now);
    let outliers = Outliers::new(OutlierConfig::default(), now);
    for call in 0..1_000 {
        for (n, one) in all.iter().enumerate() {
            // Never five in a row.
            outliers.saw(&all, one, n != 2 || call % 2 == 0, now);
        }
        now += ms(11);
    }
    let out: Vec<usize> = (0..6).filter(|&n| !all[n].is_usable(now)).collect();
    assert_eq!(out, [2]);
    assert!(all[2].status(now).cause.unwrap().contains("far more than of the others"));
}
