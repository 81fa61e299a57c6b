//! Simulates a network of thousands of nodes in a few seconds, and says how good it is.

use std::{
    error::Error,
    f64::consts::TAU,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::{Parser, ValueEnum};
use plotters::{coord::Shift, prelude::*};
use pxp::simulator::{self, Options, Policy, Report, Scenario};

/// Simulates a network of many nodes, and says how good it is.
#[derive(Parser)]
struct Arguments {
    /// How many honest nodes there are, beside the one through which all join
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// What happens to them: crowd, churn, shock, sybil or burst
    #[arg(long, default_value = "crowd")]
    scenario: Scenario,
    /// What all chance is drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The share of all nodes that are sybils, in the scenario of that name
    #[arg(long, default_value_t = 0.2)]
    sybils: f64,
    /// What nodes do to have peers
    #[arg(long, value_enum, default_value = "view")]
    policy: PolicyName,
    /// How many peers a node wants, if its application asks for them
    #[arg(long, default_value_t = 8)]
    peers: usize,
    /// The share of attempts to connect that fail by chance
    #[arg(long, default_value_t = 0.0)]
    loss: f64,
    /// The share of pairs of nodes that find a way through their NATs
    #[arg(long, default_value_t = 1.0)]
    nat: f64,
    /// Where to draw how many links nodes have, and the links
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum PolicyName {
    /// The application asks for one peer after the other
    Manual,
    /// Nodes keep a view by themselves
    View,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How many links are drawn at most: more make a disc, and a file that no viewer opens.
const DRAWN_LINKS: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let policy = match arguments.policy {
        PolicyName::Manual => Policy::Manual {
            peers: arguments.peers,
        },
        PolicyName::View => Policy::View,
    };
    let options = Options::new(arguments.scenario, arguments.nodes)
        .with_seed(arguments.seed)
        .with_sybils(arguments.sybils)
        .with_policy(policy)
        .with_loss(arguments.loss)
        .with_nat_success(arguments.nat);
    let start = Instant::now();
    let report = simulator::run(&options);
    let elapsed = start.elapsed();
    print!("{report}");
    if let Some(file) = &arguments.svg {
        draw(&report, file)?;
    }
    println!("{}", report.result_line(elapsed));
    Ok(())
}

/// Two charts side by side: how many nodes have how many links, and who is linked with whom.
fn draw(report: &Report, file: &Path) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(file, (1600, 800)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(800);
    draw_degrees(report, &left)?;
    draw_overlay(report, &right)?;
    root.present()?;
    Ok(())
}

/// The few that have many more links than others, as the node through which all join, are left out.
fn draw_degrees(report: &Report, area: &Area) -> Result<(), Box<dyn Error>> {
    let mut degrees: Vec<_> = report.degrees().collect();
    degrees.sort_unstable();
    let most = degrees.get(degrees.len() * 99 / 100).copied();
    let most = most.unwrap_or_default() + 1;
    let mut counts = vec![0; most + 1];
    for degree in degrees {
        if let Some(count) = counts.get_mut(degree) {
            *count += 1;
        }
    }
    let highest = counts.iter().max().copied().unwrap_or_default();
    let mut chart = ChartBuilder::on(area)
        .caption("nodes by their number of links", ("sans-serif", 24))
        .margin(20)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((0..most).into_segmented(), 0..highest + 1)?;
    chart.configure_mesh().disable_x_mesh().draw()?;
    let bars = counts.into_iter().enumerate();
    let histogram = Histogram::vertical(&chart).style(BLUE.mix(0.6).filled());
    chart.draw_series(histogram.margin(2).data(bars))?;
    Ok(())
}

/// All nodes on a circle in the order in which they joined, and the links between them, or as many
/// as can be told apart.
fn draw_overlay(report: &Report, area: &Area) -> Result<(), Box<dyn Error>> {
    let nodes = report.degrees().count();
    let links: Vec<_> = report.links().collect();
    let place = |node: usize| {
        let angle = TAU * node as f64 / nodes as f64;
        (angle.cos(), angle.sin())
    };
    let mut chart = ChartBuilder::on(area)
        .caption(
            "links between nodes, in order of joining",
            ("sans-serif", 24),
        )
        .margin(20)
        .build_cartesian_2d(-1.05..1.05, -1.05..1.05)?;
    let style = BLUE.mix(0.15);
    for (a, b) in links.iter().step_by(1 + links.len() / DRAWN_LINKS) {
        let line = LineSeries::new([place(*a), place(*b)], &style);
        chart.draw_series(line)?;
    }
    Ok(())
}
