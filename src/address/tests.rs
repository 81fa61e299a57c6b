use super::*;

const CERTHASH: &str = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";
const RELAY: &str = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";

fn location(text: &str) -> Option<Location> {
    Location::of(&text.parse().unwrap())
}

#[test]
fn whole_addresses_of_known_transports_are_read() {
    for stack in [
        "/ip4/9.9.9.9/tcp/1",
        "/ip6/2620:fe::fe/tcp/65535",
        "/dns/a-b_c.example/tcp/1",
        "/dns4/example/tcp/443/wss",
        "/dns6/example/tcp/443/tls/ws",
        "/ip4/9.9.9.9/tcp/1/ws",
        "/ip4/9.9.9.9/tcp/1/tls/sni/example.com/ws",
        "/ip4/9.9.9.9/udp/1/quic-v1",
        &format!("/ip4/9.9.9.9/udp/1/webrtc-direct/certhash/{CERTHASH}"),
        "/memory/1",
    ] {
        let relay: PeerId = RELAY.parse().unwrap();
        for (end, is_circuit, peer) in [
            ("", false, None),
            ("/p2p/R", false, Some(relay)),
            ("/p2p/R/p2p-circuit", true, None),
            ("/p2p/R/p2p-circuit/p2p/R", true, Some(relay)),
        ] {
            let text = format!("{stack}{}", end.replace('R', RELAY));
            let found = location(&text).unwrap_or_else(|| panic!("{text}"));
            assert!(found.is_dialable(), "{text}");
            assert_eq!(
                (found.is_circuit(), found.peer()),
                (is_circuit, peer),
                "{text}"
            );
        }
    }
}

#[test]
fn addresses_of_connections_are_read_and_not_dialed() {
    for (text, lacks_certhash) in [
        ("/ip4/9.9.9.9/udp/1/webrtc-direct", true),
        ("/ip4/9.9.9.9/udp/1/webrtc", false),
    ] {
        let found = location(text).unwrap();
        let is_whole = found.is_webrtc() && found.lacks_certhash() == lacks_certhash;
        assert!(is_whole && !found.is_dialable(), "{text}");
    }
}

#[test]
fn an_address_that_hides_another_one_is_not_read() {
    let circuit = format!("/p2p/{RELAY}/p2p-circuit");
    for text in [
        "/ip4/9.9.9.9/ip4/127.0.0.1/tcp/6379",
        "/ip4/9.9.9.9/ip6/::1/tcp/6379",
        "/ip4/9.9.9.9/dns4/localhost/tcp/80",
        "/ip4/9.9.9.9/dnsaddr/evil.example",
        "/ip4/9.9.9.9/udp/1/ip4/10.0.0.1/tcp/22",
        "/ip4/9.9.9.9/tcp/1/ip4/10.0.0.1/tcp/22",
        "/ip4/9.9.9.9/tcp/1/tcp/2",
        "/ip4/9.9.9.9/memory/1",
        "/ip6zone/eth0/ip6/fe80::1/tcp/1",
        "/ip4/9.9.9.9/tcp/80/x-parity-ws/%2Fadmin",
        "/ip4/9.9.9.9/tcp/25/x-parity-wss/%0D%0AMAIL",
        "/ip4/9.9.9.9/tcp/80/tls/x-parity-ws/%2Fadmin",
        "/ip4/9.9.9.9/tcp/80/http-path/admin",
        "/ip4/9.9.9.9/tcp/80/unix/%2Frun%2Fdocker.sock",
        "/unix/%2Frun%2Fdocker.sock",
        "/dnsaddr/evil.example",
        "/ip4/9.9.9.9",
        "/ip4/9.9.9.9/tcp/0",
        "/ip4/9.9.9.9/udp/0/quic-v1",
        "/memory/0",
        "/webrtc",
        "/p2p-circuit",
        &format!("/p2p/{RELAY}"),
        &format!("/ip4/9.9.9.9/tcp/1{circuit}{circuit}"),
        &format!("/ip4/9.9.9.9/tcp/1{circuit}/ip4/127.0.0.1/tcp/1"),
        "/ip4/9.9.9.9/tcp/1/p2p-circuit",
        &format!("/ip4/9.9.9.9/tcp/1/p2p/{RELAY}/p2p/{RELAY}"),
        &format!("{circuit}/p2p/{RELAY}"),
    ] {
        assert_eq!(location(text), None, "{text}");
    }
}

#[test]
fn an_address_that_is_another_one_as_text_is_not_read() {
    let tls = || "/ip4/9.9.9.9/tcp/1/tls".parse::<Multiaddr>().unwrap();
    let ws = Protocol::Ws("/".into());
    for name in [
        "x/ip4/127.0.0.1/tcp/6379",
        "x\ny",
        "",
        "x y",
        "\u{202e}x",
        &"x".repeat(254),
    ] {
        let address = tls().with(Protocol::Sni(name.into())).with(ws.clone());
        assert_eq!(Location::of(&address), None, "{name:?}");
        let address = Multiaddr::from(Protocol::Dns4(name.into())).with(Protocol::Tcp(1));
        assert_eq!(Location::of(&address), None, "{name:?}");
    }
    let longest = "x".repeat(253);
    assert!(is_dialable(
        &format!("/dns4/{longest}/tcp/1").parse().unwrap()
    ));
}

#[test]
fn an_address_reaches_as_far_as_its_host() {
    for (text, reach, proven, ip) in [
        (
            "/ip4/127.0.0.1/tcp/1",
            Some(Reach::Machine),
            true,
            Some("127.0.0.1"),
        ),
        (
            "/ip6/fd00::1/tcp/1",
            Some(Reach::Site),
            true,
            Some("fd00::1"),
        ),
        (
            "/ip6/::ffff:9.9.9.9/tcp/1",
            Some(Reach::Global),
            true,
            Some("9.9.9.9"),
        ),
        ("/ip4/0.0.0.0/tcp/1", None, true, Some("0.0.0.0")),
        ("/memory/1", Some(Reach::Machine), true, None),
        ("/dns/localhost/tcp/1", Some(Reach::Machine), false, None),
        (
            &format!("/ip4/10.0.0.1/tcp/1/p2p/{RELAY}/p2p-circuit"),
            Some(Reach::Site),
            false,
            None,
        ),
    ] {
        let found = location(text).unwrap();
        assert_eq!(found.reach(), reach, "{text}");
        assert_eq!(found.proven_reach(), reach.filter(|_| proven), "{text}");
        assert_eq!(found.ip(), ip.map(|ip| ip.parse().unwrap()), "{text}");
    }
}
