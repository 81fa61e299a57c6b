//! Who is linked with whom, and how good a network that makes. It knows numbers for nodes, and
//! nothing of where the links come from.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::index};

mod random;

/// The most steps of the power iteration. Where it has not settled by then, the gap is next to none.
const MAX_STEPS: usize = 3_000;

/// The iteration has settled when a step changes the eigenvalue by less.
const TOLERANCE: f64 = 1e-8;

/// How often a share of the nodes is drawn that vanish.
const DRAWS: usize = 8;

/// An undirected graph without loops and double edges.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    neighbors: Vec<Vec<usize>>,
}

impl Graph {
    /// Of nodes `0..n`. Edges may be named more than once, in both directions.
    pub(super) fn new(n: usize, edges: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut neighbors = vec![Vec::new(); n];
        for (a, b) in edges {
            if a != b && a < n && b < n {
                for (from, to) in [(a, b), (b, a)] {
                    if let Some(list) = neighbors.get_mut(from) {
                        list.push(to);
                    }
                }
            }
        }
        for list in &mut neighbors {
            list.sort_unstable();
            list.dedup();
        }
        Self { neighbors }
    }

    /// Of links that are named once by each of their ends; those that only one end names are none.
    pub(super) fn of_both_ends(n: usize, ends: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut ends: Vec<_> = ends.into_iter().collect();
        ends.sort_unstable();
        let known = ends.iter().copied();
        let is_mutual = |(a, b): &(usize, usize)| a < b && ends.binary_search(&(*b, *a)).is_ok();
        Self::new(n, known.filter(is_mutual))
    }

    pub(super) fn len(&self) -> usize {
        self.neighbors.len()
    }

    /// Each once, from the smaller to the greater.
    pub(super) fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        let each = self.neighbors.iter().enumerate();
        each.flat_map(|(a, list)| list.iter().filter(move |b| a < **b).map(move |b| (a, *b)))
    }

    pub(super) fn degrees(&self) -> impl Iterator<Item = usize> {
        self.neighbors.iter().map(Vec::len)
    }

    pub(super) fn mean_degree(&self) -> f64 {
        share(self.degrees().sum(), self.len())
    }

    /// How much of all neighbours of a node are neighbours of each other, as a mean over the nodes
    /// that have two or more (Watts and Strogatz, 1998).
    pub(super) fn clustering(&self) -> f64 {
        let of_node = |list: &Vec<usize>| {
            let pairs = list.len() * list.len().checked_sub(1)? / 2;
            let others = list.iter().filter_map(|node| self.neighbors.get(*node));
            let twice: usize = others.map(|theirs| common(list, theirs)).sum();
            (pairs > 0).then(|| share(twice / 2, pairs))
        };
        let all: Vec<_> = self.neighbors.iter().filter_map(of_node).collect();
        all.iter().sum::<f64>() / all.len().max(1) as f64
    }

    /// The nodes of the largest part that is connected when some are gone.
    pub(super) fn largest_component(&self, is_gone: &[bool]) -> Vec<usize> {
        let mut is_seen = is_gone.to_vec();
        is_seen.resize(self.len(), false);
        let mut largest = Vec::new();
        for start in 0..self.len() {
            let component = self.component(start, &mut is_seen);
            if component.len() > largest.len() {
                largest = component;
            }
        }
        largest
    }

    /// All that is connected with a node and was not seen yet.
    fn component(&self, start: usize, is_seen: &mut [bool]) -> Vec<usize> {
        let mut visit = |node: &usize| {
            let seen = is_seen.get_mut(*node);
            seen.is_some_and(|seen| !std::mem::replace(seen, true))
        };
        let mut found: Vec<_> = [start].into_iter().filter(&mut visit).collect();
        let mut looked_at = 0;
        while let Some(node) = found.get(looked_at).copied() {
            looked_at += 1;
            let list = self.neighbors.get(node).map_or(&[][..], Vec::as_slice);
            found.extend(list.iter().copied().filter(&mut visit));
        }
        found
    }

    /// The share of those left that are still connected with each other when this share of nodes has
    /// vanished: the mean of some random draws.
    pub(super) fn largest_after(&self, vanished: f64, seed: u64) -> f64 {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = (vanished * self.len() as f64).round() as usize;
        let count = count.min(self.len());
        let draw = |_| {
            let mut is_gone = vec![false; self.len()];
            for node in index::sample(&mut rng, self.len(), count) {
                if let Some(gone) = is_gone.get_mut(node) {
                    *gone = true;
                }
            }
            share(self.largest_component(&is_gone).len(), self.len() - count)
        };
        (0..DRAWS).map(draw).sum::<f64>() / DRAWS as f64
    }

    /// Some of the nodes and what links them, numbered in the order in which they are given.
    pub(super) fn part(&self, nodes: &[usize]) -> Self {
        let mut places = vec![None; self.len()];
        for (place, node) in nodes.iter().enumerate() {
            if let Some(known) = places.get_mut(*node) {
                *known = Some(place);
            }
        }
        let place = |node: usize| places.get(node).copied().flatten();
        let kept = self
            .edges()
            .filter_map(|(a, b)| Some((place(a)?, place(b)?)));
        Self::new(nodes.len(), kept)
    }

    /// 1 less the second eigenvalue of the adjacency matrix, normalised by the degrees: how fast a
    /// random walk forgets where it began. It is 0 where the graph is in two parts or has a node
    /// without links.
    ///
    /// By power iteration of (1 + A) / 2, none of whose eigenvalues are negative, on what is left
    /// beside the first eigenvector, whose entries are the roots of the degrees.
    pub(super) fn spectral_gap(&self) -> f64 {
        let roots: Vec<_> = self
            .degrees()
            .map(|degree| (degree as f64).sqrt())
            .collect();
        if roots.contains(&0.0) {
            return 0.0;
        }
        let first = normalised(&roots);
        let mut rng = StdRng::seed_from_u64(0);
        let drawn: Vec<f64> = roots.iter().map(|_| rng.random::<f64>() - 0.5).collect();
        let mut vector = normalised(&without(&drawn, &first));
        let mut eigenvalue = 0.0;
        for _ in 0..MAX_STEPS {
            let next = without(&self.half_step(&vector, &roots), &first);
            let found = dot(&next, &vector);
            vector = normalised(&next);
            if f64::abs(found - eigenvalue) < TOLERANCE {
                eigenvalue = found;
                break;
            }
            eigenvalue = found;
        }
        1.0 - (2.0 * eigenvalue - 1.0)
    }

    /// (1 + A) / 2 times a vector.
    fn half_step(&self, vector: &[f64], roots: &[f64]) -> Vec<f64> {
        let scaled: Vec<_> = vector.iter().zip(roots).map(|(x, root)| x / root).collect();
        let row = |((list, x), root): ((&Vec<usize>, &f64), &f64)| {
            let of = |node: &usize| scaled.get(*node).copied().unwrap_or_default();
            let sum: f64 = list.iter().map(of).sum();
            (x + sum / root) / 2.0
        };
        let rows = self.neighbors.iter().zip(vector).zip(roots);
        rows.map(row).collect()
    }
}

/// How many members two sorted lists have in common.
fn common(a: &[usize], b: &[usize]) -> usize {
    let (small, large) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let is_in_both = |node: &&usize| large.binary_search(node).is_ok();
    small.iter().filter(is_in_both).count()
}

/// A part of a whole; 0 of nothing.
pub(super) fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn normalised(vector: &[f64]) -> Vec<f64> {
    let length = dot(vector, vector).sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    vector.iter().map(|x| x * scale).collect()
}

/// What is left of a vector beside its part along one of length 1.
fn without(vector: &[f64], direction: &[f64]) -> Vec<f64> {
    let along = dot(vector, direction);
    let left = vector.iter().zip(direction);
    left.map(|(x, d)| x - along * d).collect()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    fn complete(n: usize) -> Graph {
        Graph::new(n, (0..n).flat_map(|a| (0..a).map(move |b| (a, b))))
    }

    fn ring(n: usize) -> Graph {
        Graph::new(n, (0..n).map(|a| (a, (a + 1) % n)))
    }

    #[test]
    fn the_gap_of_a_complete_graph_and_of_a_ring_is_what_theory_says() {
        let n = 20;
        let gap = complete(n).spectral_gap();
        assert!((gap - n as f64 / (n as f64 - 1.0)).abs() < 1e-4, "{gap}");
        let gap = ring(n).spectral_gap();
        assert!(
            (gap - (1.0 - (2.0 * PI / n as f64).cos())).abs() < 1e-4,
            "{gap}"
        );
    }

    #[test]
    fn the_gap_of_a_random_regular_graph_is_near_the_bound_of_alon_and_boppana() {
        for degree in [6, 8, 12] {
            let graph = Graph::random(3_000, degree as f64, 1);
            assert!(graph.degrees().all(|known| known == degree));
            let gap = graph.spectral_gap();
            let bound = 1.0 - 2.0 * f64::sqrt(degree as f64 - 1.0) / degree as f64;
            assert!((gap - bound).abs() < 0.02, "{degree}: {gap}, not {bound}");
        }
    }

    #[test]
    fn the_degrees_of_a_random_graph_have_the_mean_that_is_wanted_and_differ_by_one() {
        let graph = Graph::random(1_000, 7.3, 1);
        assert!((graph.mean_degree() - 7.3).abs() < 0.01);
        assert!(graph.degrees().all(|degree| (7..=8).contains(&degree)));
    }

    #[test]
    fn a_graph_in_two_parts_has_no_gap_and_its_larger_part_is_found() {
        let edges = (0..5).flat_map(|a| (0..a).map(move |b| (a, b)));
        let graph = Graph::new(8, edges.chain([(5, 6), (6, 7), (7, 5)]));
        assert!(graph.spectral_gap().abs() < 1e-4);
        let mut part = graph.largest_component(&[]);
        part.sort_unstable();
        assert_eq!(part, [0, 1, 2, 3, 4]);
        assert_eq!(graph.part(&part).edges().count(), 10);
        let is_gone = [true, true, true, false, false, false, false, false];
        assert_eq!(graph.largest_component(&is_gone).len(), 3);
    }

    #[test]
    fn neighbors_of_each_other_are_clustered() {
        assert!((complete(6).clustering() - 1.0).abs() < 1e-9);
        assert!(ring(6).clustering().abs() < 1e-9);
    }

    #[test]
    fn a_complete_graph_stays_whole_and_a_ring_does_not() {
        assert!((complete(50).largest_after(0.6, 1) - 1.0).abs() < 1e-9);
        assert!(ring(500).largest_after(0.4, 1) < 0.2);
    }
}
