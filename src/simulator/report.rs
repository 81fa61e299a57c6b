//! What is measured of a world at its end, beside what a random graph with as many links has. It
//! knows what the figures mean, and nothing of how they came about.

use std::{fmt, time::Duration};

use super::{
    Options, Scenario,
    graph::{Graph, share},
    node::{Link, Node, Role},
    world::{BOOTSTRAP, World},
};

/// Figures of a network, with its graph.
#[derive(Debug, Clone)]
pub struct Report {
    scenario: Scenario,
    nodes: usize,
    seed: u64,
    figures: Vec<Figure>,
    graph: Graph,
}

#[derive(Debug, Clone, PartialEq)]
struct Figure {
    name: &'static str,
    value: f64,
    /// Of a random graph whose nodes have as many links each.
    of_random: Option<f64>,
    /// Whether it is one of those in the line for programs.
    is_result: bool,
}

/// What only some scenarios are about.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// The share of nodes that have all their peers again, in percent.
    pub(super) recovered_percent: Option<f64>,
    /// The share of nodes that have all their peers, in percent.
    pub(super) filled_percent: Option<f64>,
    /// The share of sybils among the peers that honest nodes found themselves.
    pub(super) sybil_out_share: Option<f64>,
    /// The share of sybils among all peers of honest nodes.
    pub(super) sybil_share: Option<f64>,
    /// The share of honest nodes with no honest peer but the bootstrap node, in percent.
    pub(super) eclipsed_percent: Option<f64>,
}

impl Report {
    pub(super) fn new(options: &Options, world: &World, finding: &Finding) -> Self {
        let honest = honest_nodes(world);
        let graph = honest_graph(world, &honest);
        let mut figures = figures_of_links(&graph, &honest);
        figures.extend(figures_of_graph(&graph, options.seed));
        figures.extend(figures_of_counts(world));
        let found = [
            ("recovered_percent", finding.recovered_percent),
            ("filled_percent", finding.filled_percent),
            ("sybil_out_share", finding.sybil_out_share),
            ("eclipsed_percent", finding.eclipsed_percent),
        ];
        let sybil_share = finding.sybil_share;
        figures.extend(sybil_share.map(|share| Figure::detail("sybil_share", share)));
        let found = found.into_iter();
        figures.extend(found.filter_map(|(name, value)| Some(Figure::result(name, value?))));
        Self {
            scenario: options.scenario,
            nodes: options.nodes,
            seed: options.seed,
            figures,
            graph,
        }
    }

    /// One of the figures of the [`Self::result_line`], if the scenario yields it.
    pub fn figure(&self, name: &str) -> Option<f64> {
        let mut figures = self.figures.iter();
        let found = figures.find(|figure| figure.name == name)?;
        Some(found.value)
    }

    /// How many links each of the honest nodes has to others.
    pub fn degrees(&self) -> impl Iterator<Item = usize> {
        self.graph.degrees()
    }

    /// The links among honest nodes, which are numbered from 0, in the order in which they joined.
    pub fn links(&self) -> impl Iterator<Item = (usize, usize)> {
        self.graph.edges()
    }

    /// The figures in one line, for programs: those of the following that the scenario yields.
    /// `elapsed` is how long the run took. All are about honest nodes, at the end or since the crowd had
    /// settled, if the scenario has more to it than a crowd.
    ///
    /// | figure | what it is |
    /// |---|---|
    /// | `max_links` | most links on any ordinary node |
    /// | `gap_ratio` | spectral gap of the largest component, over that of a random graph with as many links |
    /// | `largest_after_40`, `_60` | when this percentage of nodes vanishes, the share of the others that is still connected |
    /// | `busiest_over_mean` | requests for peers to the busiest ordinary node, over the mean |
    /// | `bootstrap_queries_per_join` | requests for peers to the bootstrap node, for each node that joined |
    /// | `queries_to_fill` | requests for peers that a node made until it had all its peers |
    /// | `handshakes_per_join` | offers of all nodes, for each that joined |
    /// | `refused_share` | share of the offers that somebody refused |
    /// | `recovered_percent`, `filled_percent` | nodes that have all their peers |
    /// | `sybil_out_share` | share of sybils among the peers that nodes found themselves |
    /// | `eclipsed_percent` | nodes all of whose peers, beside the bootstrap node, are sybils |
    /// | `seconds` | how long the run took |
    pub fn result_line(&self, elapsed: Duration) -> String {
        let Self {
            scenario,
            nodes,
            seed,
            ..
        } = self;
        let results = self.figures.iter().filter(|figure| figure.is_result);
        let figures: String = results
            .map(|figure| format!(" {}={:.4}", figure.name, figure.value))
            .collect();
        let seconds = elapsed.as_secs_f64();
        format!(
            "RESULT view scenario={scenario} nodes={nodes} seed={seed}{figures} seconds={seconds:.1}"
        )
    }
}

/// A table.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<28} {:>10} {:>10}", "", "here", "random")?;
        for figure in &self.figures {
            write!(f, "{:<28} {:>10.4}", figure.name, figure.value)?;
            match figure.of_random {
                Some(of_random) => writeln!(f, " {of_random:>10.4}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

impl Figure {
    fn result(name: &'static str, value: f64) -> Self {
        Self {
            name,
            value,
            of_random: None,
            is_result: true,
        }
    }

    fn detail(name: &'static str, value: f64) -> Self {
        Self {
            is_result: false,
            ..Self::result(name, value)
        }
    }

    fn beside(self, of_random: f64) -> Self {
        Self {
            of_random: Some(of_random),
            ..self
        }
    }
}

impl Finding {
    /// The link to the bootstrap node is none of those that an attacker could have taken.
    pub(super) fn of_sybils(&mut self, world: &World) {
        let nodes = world.nodes();
        let is_sybil = |link: &&Link| {
            let other = nodes.get(link.to.0);
            other.is_some_and(|other| other.role == Role::Sybil)
        };
        let (mut honest, mut eclipsed) = (0, 0);
        let (mut all, mut all_sybils, mut chosen, mut chosen_sybils) = (0, 0, 0, 0);
        for node in nodes.iter().filter(|node| node.is_counted()) {
            let links = node.links.iter().filter(|link| link.to != BOOTSTRAP);
            let count = links.clone().count();
            let sybils = links.clone().filter(is_sybil).count();
            let own = links.filter(|link| link.is_own_choice);
            honest += 1;
            eclipsed += usize::from(sybils > 0 && sybils == count);
            all += count;
            all_sybils += sybils;
            chosen += own.clone().count();
            chosen_sybils += own.filter(is_sybil).count();
        }
        self.sybil_share = Some(share(all_sybils, all));
        self.sybil_out_share = Some(share(chosen_sybils, chosen));
        self.eclipsed_percent = Some(100.0 * share(eclipsed, honest));
    }
}

/// Those that are left, by their numbers.
fn honest_nodes(world: &World) -> Vec<usize> {
    let is_honest = |node: &Node| node.is_alive() && node.role != Role::Sybil;
    let nodes = world.nodes().iter().enumerate();
    let honest = nodes.filter(|(_, node)| is_honest(node));
    honest.map(|(number, _)| number).collect()
}

/// The links among these nodes of which both ends know.
fn honest_graph(world: &World, honest: &[usize]) -> Graph {
    let nodes = world.nodes();
    let each = nodes.iter().enumerate();
    let ends = each.flat_map(|(from, node)| node.links.iter().map(move |link| (from, link.to.0)));
    Graph::of_both_ends(nodes.len(), ends).part(honest)
}

fn figures_of_links(graph: &Graph, honest: &[usize]) -> Vec<Figure> {
    let nodes = || honest.iter().zip(graph.degrees());
    let of_bootstrap = nodes().find(|(node, _)| **node == BOOTSTRAP.0);
    let of_ordinary = || nodes().filter(|(node, _)| **node != BOOTSTRAP.0);
    let most = of_ordinary().map(|(_, links)| links).max();
    let least = of_ordinary().map(|(_, links)| links).min();
    let figure = |links: Option<usize>| links.unwrap_or_default() as f64;
    vec![
        Figure::detail("bootstrap_links", figure(of_bootstrap.map(|it| it.1))),
        Figure::result("max_links", figure(most)),
        Figure::detail("min_links", figure(least)),
    ]
}

fn figures_of_graph(graph: &Graph, seed: u64) -> Vec<Figure> {
    let random = Graph::random(graph.len(), graph.mean_degree(), seed);
    let whole = graph.largest_component(&[]);
    let (gap, random_gap) = (graph.part(&whole).spectral_gap(), random.spectral_gap());
    let after = |graph: &Graph, vanished| graph.largest_after(vanished, seed);
    vec![
        Figure::detail("nodes_left", graph.len() as f64),
        Figure::detail("largest_component", share(whole.len(), graph.len())).beside(1.0),
        Figure::detail("mean_links", graph.mean_degree()).beside(random.mean_degree()),
        Figure::detail("clustering", graph.clustering()).beside(random.clustering()),
        Figure::detail("gap", gap).beside(random_gap),
        Figure::result("gap_ratio", ratio(gap, random_gap)),
        Figure::result("largest_after_40", after(graph, 0.4)).beside(after(&random, 0.4)),
        Figure::result("largest_after_60", after(graph, 0.6)).beside(after(&random, 0.6)),
    ]
}

/// Of what was counted since the counting began.
fn figures_of_counts(world: &World) -> Vec<Figure> {
    let nodes = world.nodes();
    let sum = |of: fn(&Node) -> usize| {
        let ordinary = nodes.iter().filter(|node| node.role == Role::Ordinary);
        ordinary.map(of).sum::<usize>() as f64
    };
    let joins = sum(|node| usize::from(node.tally.is_new));
    let bootstrap = nodes.get(BOOTSTRAP.0);
    let bootstrap = bootstrap.map_or(0, |node| node.tally.requests) as f64;
    let loads: Vec<_> = nodes
        .iter()
        .filter(|node| node.is_counted())
        .map(|node| node.tally.requests)
        .collect();
    let busiest = loads.iter().max().copied().unwrap_or_default() as f64;
    let mean_load = share(loads.iter().sum(), loads.len());
    let is_new = |node: &Node| node.role == Role::Ordinary && node.tally.is_new;
    let filled = |node: &Node| node.tally.queries_to_fill.filter(|_| is_new(node));
    let to_fill: Vec<_> = nodes.iter().filter_map(filled).collect();
    let offers = sum(|node| node.tally.offers);
    let refused = sum(|node| node.tally.refused);
    let mut figures = vec![
        Figure::detail("busiest", busiest),
        Figure::result("busiest_over_mean", ratio(busiest, mean_load)),
    ];
    if joins > 0.0 {
        figures.extend([
            Figure::result("bootstrap_queries_per_join", bootstrap / joins),
            Figure::detail("filled_share", to_fill.len() as f64 / joins),
            Figure::result(
                "queries_to_fill",
                share(to_fill.iter().sum(), to_fill.len()),
            ),
            Figure::result("handshakes_per_join", offers / joins),
        ]);
    }
    figures.push(Figure::result("refused_share", ratio(refused, offers)));
    figures
}

fn ratio(value: f64, of: f64) -> f64 {
    if of > 0.0 { value / of } else { 0.0 }
}
