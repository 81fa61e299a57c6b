//! Descriptions as others write them, and such as nobody does.

use super::*;

/// Of data channels alone, without candidates.
const BROWSERS_AND_OTHERS: [(&str, &str); 8] = [
    (
        "Chrome",
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
        a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:Gk+/\r\n\
        a=ice-pwd:x1Ju7eqKBCv2e7T9mvN4YiRc\r\na=ice-options:trickle\r\na=fingerprint:sha-256 FINGERPRINT\r\n\
        a=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n",
    ),
    (
        "Firefox",
        "v=0\r\no=mozilla...THIS_IS_SDPARTA-99.0 5011465132847190861 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
        a=sendrecv\r\na=fingerprint:sha-256 FINGERPRINT\r\na=group:BUNDLE 0\r\n\
        a=ice-options:trickle\r\na=msid-semantic:WMS *\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=sendrecv\r\n\
        a=ice-pwd:b4c7bb9c5e3b0d9a0ee1f5a5c7a0a6fd\r\na=ice-ufrag:5f0e3c1b\r\na=mid:0\r\na=setup:actpass\r\n\
        a=sctp-port:5000\r\na=max-message-size:1073741823\r\n",
    ),
    (
        "Safari",
        "v=0\r\no=- 7614219274584779017 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
        a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
        m=application 63743 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 9.9.9.9\r\nb=AS:30\r\n\
        a=candidate:842163049 1 udp 1677729535 9.9.9.9 63743 typ srflx raddr 0.0.0.0 rport 0 generation 0 \
        network-cost 999\r\na=ice-ufrag:b2mX\r\na=ice-pwd:aGdAsdK1tmZ8Bq0dPqzHWk1M\r\n\
        a=ice-options:trickle renomination\r\na=fingerprint:sha-256 FINGERPRINT\r\na=setup:actpass\r\na=mid:0\r\n\
        a=sctp-port:5000\r\na=max-message-size:262144\r\n",
    ),
    (
        "Chrome with SNAP",
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE data\r\n\
        a=msid-semantic: WMS\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
        a=ice-ufrag:Gk+/\r\na=ice-pwd:x1Ju7eqKBCv2e7T9mvN4YiRc\r\na=ice-options:trickle ice2\r\n\
        a=fingerprint:sha-256 FINGERPRINT\r\na=setup:actpass\r\na=mid:data\r\na=sctp-port:5000\r\n\
        a=max-message-size:262144\r\na=sctp-init:AQAAHkTnvAIAUAAA//8E/0zcXx6AAAAEwAAABIAIAAbAggAA\r\n",
    ),
    (
        "pion",
        "v=0\r\no=- 4060474127083529713 1717689600 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=msid-semantic:WMS*\r\n\
        a=fingerprint:sha-256 FINGERPRINT\r\na=extmap-allow-mixed\r\na=group:BUNDLE 0\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=setup:actpass\r\na=mid:0\r\n\
        a=sendrecv\r\na=sctp-port:5000\r\na=max-message-size:1073741823\r\na=ice-ufrag:pVnbqiYJcTVxkgvq\r\n\
        a=ice-pwd:HVuNRDTVxhUOeZxFnsFeYYCbQVlexbvG\r\n\
        a=candidate:233762139 1 udp 2130706431 9.9.9.9 43211 typ host ufrag pVnbqiYJcTVxkgvq\r\n\
        a=candidate:233762139 2 udp 2130706431 9.9.9.9 43211 typ host ufrag pVnbqiYJcTVxkgvq\r\n\
        a=end-of-candidates\r\n",
    ),
    (
        "aiortc",
        "v=0\r\no=- 3926748412 3926748412 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=msid-semantic:WMS *\r\n\
        m=application 46041 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 9.9.9.9\r\na=mid:0\r\n\
        a=sctp-port:5000\r\na=max-message-size:65536\r\n\
        a=candidate:0c7bd1fc1ff8a2c5ac0a1de7c8fb3d86 1 udp 2130706431 9.9.9.9 46041 typ host\r\n\
        a=end-of-candidates\r\na=ice-ufrag:N3Bo\r\na=ice-pwd:qjUOLqz2xFZ8DHD7KJ29Kw\r\n\
        a=fingerprint:sha-256 FINGERPRINT\r\na=fingerprint:sha-384 FINGERPRINT:00:11\r\n\
        a=fingerprint:sha-512 FINGERPRINT:00:11:22\r\na=setup:actpass\r\n",
    ),
    (
        "libdatachannel",
        "v=0\r\no=rtc 2758694121 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=group:LS 0\r\n\
        a=msid-semantic:WMS *\r\na=ice-options:ice2,trickle\r\na=fingerprint:sha-256 FINGERPRINT\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendrecv\r\n\
        a=sctp-port:5000\r\na=max-message-size:262144\r\na=setup:actpass\r\na=ice-ufrag:NDd6\r\n\
        a=ice-pwd:FRtUh5xhvUl2ChnhHoIO6g\r\n",
    ),
    (
        "with bare ends of lines, and an attribute of old",
        "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0\na=identity:x\n\
        m=application 9 DTLS/SCTP webrtc-datachannel\nc=IN IP4 0.0.0.0\na=ice-ufrag:Gk+/\n\
        a=ice-pwd:x1Ju7eqKBCv2e7T9mvN4YiRc\na=fingerprint:sha-256 FINGERPRINT\na=setup:actpass\n\
        a=mid:0\na=sctpmap:5000 webrtc-datachannel 1024\na=sctp-port:5000\n",
    ),
];

fn in_full(sdp: &str) -> String {
    sdp.replace("FINGERPRINT", &["A1"; 32].join(":"))
}

pub(super) fn chrome() -> String {
    in_full(BROWSERS_AND_OTHERS[0].1)
}

/// What is answered to an offer.
pub(super) fn answer_to(lab: &mut Lab, sdp: &str) -> Option<String> {
    lab.setups += 1;
    let (peer, number, reach) = (lab.ends[1].peer, lab.setups, Reach::Global);
    let setup = SetupId { peer, number };
    let sdp = sdp.to_owned();
    let endpoint = &mut lab.ends[0].endpoint;
    endpoint.handle_command(lab.now, Command::Answer { setup, reach, sdp });
    while let Some(event) = endpoint.poll_event() {
        if let Event::Notice(Notice::Described { sdp, .. }) = event {
            return sdp;
        }
    }
    panic!("nothing was said");
}

fn is_answered(sdp: &str) -> bool {
    answer_to(&mut Lab::new(1), sdp).is_some()
}

/// Whether such an answer to an offer of ours is taken.
fn is_taken(sdp: &str) -> bool {
    let mut lab = Lab::new(1);
    lab.setups += 1;
    let (peer, number, reach) = (lab.ends[1].peer, lab.setups, Reach::Global);
    let setup = SetupId { peer, number };
    let endpoint = &mut lab.ends[0].endpoint;
    endpoint.handle_command(lab.now, Command::Offer { setup, reach });
    let Some(Event::Notice(Notice::Described {
        sdp: Some(ours), ..
    })) = endpoint.poll_event()
    else {
        panic!("no description");
    };
    let mid = |sdp: &str| {
        let mut lines = sdp.lines().map(str::to_owned);
        lines.find_map(|line| line.strip_prefix("a=mid:").map(str::to_owned))
    };
    let (ours, theirs) = (mid(&ours).unwrap(), mid(sdp).unwrap());
    let sdp = sdp
        .replace(&format!("a=mid:{theirs}"), &format!("a=mid:{ours}"))
        .replace(&format!("BUNDLE {theirs}"), &format!("BUNDLE {ours}"))
        .replace("actpass", "active");
    endpoint.handle_command(lab.now, Command::Accept { setup, sdp });
    endpoint.dial(&peer).is_some()
}

#[test]
fn what_others_say_of_data_channels_is_understood() {
    for (who, sdp) in BROWSERS_AND_OTHERS {
        let sdp = in_full(sdp);
        assert!(is_answered(&sdp), "{who}");
        assert!(is_taken(&sdp), "{who}");
        assert!(is_answered(sdp.trim_end()), "{who}");
        assert!(!is_answered(&format!("{sdp}{sdp}")), "{who}");
    }
}

#[test]
fn who_wants_anything_but_data_channels_is_not_answered() {
    let audio =
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=sendrecv\r\na=rtpmap:111 opus/48000/2\r\n";
    let section = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel";
    for (what, sdp) in [
        (
            "audio as well",
            chrome().replace("BUNDLE 0", "BUNDLE 0 1") + audio,
        ),
        ("audio not bundled", chrome() + audio),
        (
            "audio first",
            chrome().replace("m=app", &format!("{audio}m=app")),
        ),
        (
            "audio instead",
            chrome().replace(section, "m=audio 9 UDP/TLS/RTP/SAVPF 0"),
        ),
        ("two of them", chrome() + section + "\r\na=mid:1\r\n"),
        ("none", chrome().replace(section, "")),
        (
            "another kind of data",
            chrome().replace("webrtc-datachannel", "bfcp"),
        ),
        (
            "RTP over it",
            chrome().replace("DTLS/SCTP", "TLS/RTP/SAVPF"),
        ),
        (
            "more behind it",
            chrome().replace("webrtc-datachannel", "webrtc-datachannel 5"),
        ),
        ("a control character", chrome().replace("s=-", "s=\u{7}")),
        (
            "a bare carriage return",
            chrome().replace("s=-", "s=-\ra=x"),
        ),
        ("what is no ASCII", chrome().replace("s=-", "s=\u{e9}")),
    ] {
        assert!(!is_answered(&sdp), "{what}");
        assert!(!is_taken(&sdp), "{what}");
    }
    assert!(is_answered(&chrome()) && is_taken(&chrome()));
}

/// With a longer name, a check would have one that the engine cannot write, and panics at.
#[test]
fn the_secrets_of_ice_have_bounds_within_which_checks_are_sent() {
    let with = |ufrag: String, pwd: String| {
        let sdp = chrome();
        let sdp = sdp.replace("a=ice-ufrag:Gk+/", &format!("a=ice-ufrag:{ufrag}"));
        let sdp = sdp.replace("x1Ju7eqKBCv2e7T9mvN4YiRc", &pwd);
        sdp + "a=candidate:1 1 udp 2130706175 9.9.9.9 4000 typ host\r\n"
    };
    for (ufrag, pwd, is_good) in [
        (3, 22, false),
        (4, 21, false),
        (4, 22, true),
        (100, 256, true),
        (101, 22, false),
        (112, 22, false),
        (4, 257, false),
    ] {
        let mut lab = Lab::new(1);
        let sdp = with("u".repeat(ufrag), "p".repeat(pwd));
        let answer = answer_to(&mut lab, &sdp);
        assert_eq!(answer.is_some(), is_good, "{ufrag}, {pwd}");
        assert_eq!(is_taken(&sdp), is_good, "{ufrag}, {pwd}");
        lab.run(SECOND);
        assert_eq!(
            lab.has_sent_to(0, "9.9.9.9:4000"),
            is_good,
            "{ufrag}, {pwd}"
        );
        let connections = lab.ends[0].endpoint.connections.values();
        let in_setup = connections.filter(|connection| connection.is_in_setup());
        assert_eq!(in_setup.count(), usize::from(is_good));
    }
    for bad in ["ab cd", "ab:cd", "ab-cd", "ab_cd", "ab=cd"] {
        assert!(!is_answered(&with(bad.to_owned(), "p".repeat(22))), "{bad}");
        assert!(
            !is_answered(&with("abcd".to_owned(), bad.repeat(5))),
            "{bad}"
        );
    }
    let twice = chrome() + "a=ice-ufrag:" + &"u".repeat(112) + "\r\n";
    assert!(!is_answered(&twice), "whichever the engine takes");
}

#[test]
fn a_description_has_one_mid_and_one_role() {
    for line in ["a=mid:0\r\n", "a=setup:actpass\r\n"] {
        let [without, twice] = ["", &line.repeat(2)].map(|it| chrome().replace(line, it));
        assert!(!is_answered(&without), "{line}");
        assert!(!is_answered(&twice) && !is_taken(&twice), "{line}");
    }
}

#[test]
fn an_end_takes_messages_of_16_kib() {
    for (size, is_enough) in [
        ("0", true),
        ("1", false),
        ("16383", false),
        ("16384", true),
        ("16385", true),
        ("18446744073709551615", true),
        ("18446744073709551616", false),
        ("-1", false),
        ("", false),
    ] {
        let sdp = chrome().replace("size:262144", &format!("size:{size}"));
        assert_eq!(is_answered(&sdp), is_enough, "{size}");
        assert_eq!(is_taken(&sdp), is_enough, "{size}");
        let twice = format!("{}a=max-message-size:{size}\r\n", chrome());
        assert_eq!(is_answered(&twice), is_enough, "{size}");
    }
}

#[test]
fn a_certificate_is_named_by_sha_256() {
    let weak = format!("sha-1 {}", ["A1"; 20].join(":"));
    let strong = format!("sha-256 {}", ["A1"; 32].join(":"));
    assert!(chrome().contains(&strong));
    assert!(!is_answered(&chrome().replace(&strong, &weak)));
    assert!(is_answered(&(chrome() + "a=fingerprint:" + &weak + "\r\n")));
}

#[test]
fn a_description_may_be_so_long_and_of_so_many_lines() {
    for (len, is_good) in [(8191, true), (8192, true), (8193, false)] {
        let mut sdp = chrome() + "a=x:";
        sdp.push_str(&"x".repeat(len - sdp.len()));
        assert_eq!((sdp.len(), is_answered(&sdp)), (len, is_good));
    }
    for (lines, is_good) in [(127, true), (128, true), (129, false)] {
        let sdp = chrome();
        let more = lines - sdp.lines().count();
        assert_eq!(
            is_answered(&(sdp + &"a=x\r\n".repeat(more))),
            is_good,
            "{lines}"
        );
    }
}
