use super::*;

#[test]
fn the_same_seed_makes_the_same_run_and_another_another() {
    for scenario in Scenario::ALL {
        let report = |seed| {
            let options = Options::new(scenario, 40).with_seed(seed);
            let options = options.with_loss(0.1).with_nat_success(0.8);
            run(&options).result_line(Duration::ZERO)
        };
        assert_eq!(report(1), report(1));
        assert_ne!(report(1).replace("seed=1", "seed=2"), report(2));
    }
}

#[test]
fn a_crowd_that_looks_for_peers_by_hand_ends_connected() {
    let report = run(&Options::new(Scenario::Crowd, 200).with_seed(1));
    assert_eq!(report.figure("nodes_left"), Some(201.0), "{report}");
    assert_eq!(report.figure("largest_component"), Some(1.0), "{report}");
    assert!(report.degrees().all(|degree| degree >= 8), "{report}");
    assert!(report.figure("gap_ratio") > Some(0.5), "{report}");
}

#[test]
fn a_burst_fills_and_what_remains_after_a_shock_recovers() {
    for (scenario, figure) in [
        (Scenario::Burst, "filled_percent"),
        (Scenario::Shock, "recovered_percent"),
    ] {
        let report = run(&Options::new(scenario, 100).with_seed(1));
        assert!(report.figure(figure) > Some(95.0), "{report}");
    }
}

#[test]
fn nodes_that_find_no_way_through_their_nats_keep_the_bootstrap_node_only() {
    let options = Options::new(Scenario::Burst, 20).with_nat_success(0.0);
    let report = run(&options);
    assert!(
        report.degrees().skip(1).all(|degree| degree == 1),
        "{report}"
    );
    assert_eq!(report.figure("filled_percent"), Some(0.0), "{report}");
}

#[test]
fn sybils_are_found_as_often_as_there_are_many_and_never_without_any() {
    let found = |sybils| {
        let options = Options::new(Scenario::Sybil, 60).with_sybils(sybils);
        run(&options).figure("sybil_out_share")
    };
    assert_eq!(found(0.0), Some(0.0));
    assert!(found(0.5) > found(0.1));
}

#[test]
fn each_scenario_has_the_name_by_which_it_is_found() {
    for scenario in Scenario::ALL {
        assert_eq!(scenario.to_string().parse(), Ok(scenario));
    }
    assert_eq!("peace".parse::<Scenario>(), Err(ScenarioError));
}
