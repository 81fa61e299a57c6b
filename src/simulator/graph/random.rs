//! Random graphs to compare others with: all nodes have the same number of links, or one more.

use std::collections::HashSet;

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::Graph;

impl Graph {
    /// A random graph whose degrees have this mean and differ by one at most.
    ///
    /// Ends of links are paired at random (Bollobás, 1980). A pair that is a loop or there already
    /// swaps ends with another until it is neither.
    pub(in crate::simulator) fn random(n: usize, mean_degree: f64, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mean_degree = mean_degree.clamp(0.0, n.saturating_sub(1) as f64);
        let links = (mean_degree * n as f64 / 2.0).round() as usize;
        let mut nodes: Vec<_> = (0..n).collect();
        nodes.shuffle(&mut rng);
        let mut ends: Vec<_> = nodes.into_iter().cycle().take(2 * links).collect();
        ends.shuffle(&mut rng);
        let mut pairs: Vec<_> = ends
            .chunks_exact(2)
            .filter_map(|pair| Some((*pair.first()?, *pair.last()?)))
            .collect();
        mend(&mut pairs, &mut rng);
        Self::new(n, pairs)
    }
}

/// Swaps ends until there is no loop and no pair twice, or next to none where a graph is too dense.
fn mend(pairs: &mut [(usize, usize)], rng: &mut StdRng) {
    let mut known = HashSet::new();
    let add = |known: &mut HashSet<_>, (a, b): (usize, usize)| {
        a != b && known.insert((a.min(b), a.max(b)))
    };
    let mut bad: Vec<_> = (0..pairs.len())
        .filter(|place| pairs.get(*place).is_none_or(|pair| !add(&mut known, *pair)))
        .collect();
    let mut swaps_left = 100 * pairs.len();
    while let Some(place) = bad.pop() {
        loop {
            let other = rng.random_range(..pairs.len());
            let (Some((a, b)), Some((c, d))) =
                (pairs.get(place).copied(), pairs.get(other).copied())
            else {
                return;
            };
            if swaps_left == 0 {
                return;
            }
            swaps_left -= 1;
            // the other has to be a good one, which only then is known
            let (one, two) = ((a, d), (c, b));
            let is_new = |(a, b): (usize, usize)| a != b && !known.contains(&(a.min(b), a.max(b)));
            let is_same = (a.min(d), a.max(d)) == (c.min(b), c.max(b));
            if other == place || bad.contains(&other) || is_same || !is_new(one) || !is_new(two) {
                continue;
            }
            known.remove(&(c.min(d), c.max(d)));
            add(&mut known, one);
            add(&mut known, two);
            if let Some(pair) = pairs.get_mut(place) {
                *pair = one;
            }
            if let Some(pair) = pairs.get_mut(other) {
                *pair = two;
            }
            break;
        }
    }
}
