use crate::config::file;
use crate::config::public_ip::PublicAddresses;
use crate::config::resolve::*;
use crate::turn::policy::acl::Verdict;

fn host() -> HostInfo {
    HostInfo {
        addresses: vec!["127.0.0.1".parse().unwrap(), "10.0.0.5".parse().unwrap()],
        source_v4: Some("10.0.0.5".parse().unwrap()),
        source_v6: Some("2001:db8::5".parse().unwrap()),
        ipv6: true,
        public: None,
        secret: "generated for this run alone".into(),
    }
}

fn settings(text: &str) -> Settings {
    resolve(
        &file::parse(std::path::Path::new("f"), text)
            .unwrap()
            .read_files(),
        &host(),
    )
    .unwrap()
}

fn diagnostics(text: &str) -> Vec<String> {
    let layer = file::parse(std::path::Path::new("f"), text)
        .unwrap()
        .read_files();
    resolve(&layer, &host())
        .unwrap_err()
        .diagnostics
        .iter()
        .map(Diagnostic::to_string)
        .collect()
}

#[test]
fn the_defaults_are_safe_and_useful() {
    let settings = settings("");
    let listeners: Vec<String> = settings
        .plan
        .listeners
        .iter()
        .map(|l| l.address.to_string())
        .collect();
    assert_eq!(listeners, ["0.0.0.0:3478", "[::]:3478"]);
    assert_eq!(settings.plan.policy.relay_addresses.len(), 2);
    assert_eq!(settings.admin, schema::ADMIN.default());
    assert_eq!(
        settings.credentials,
        CredentialSource::Secret {
            secret: host().secret,
            generated: true
        }
    );
    assert!(!settings.plan.policy.realms[0].credentials.is_empty());
    assert_eq!(
        settings.plan.policy.realms[0]
            .peers
            .verdict("169.254.169.254".parse().unwrap()),
        Verdict::Refused
    );
    let web = settings.web.address.unwrap();
    assert_eq!(
        settings.plan.policy.own_addresses.listeners,
        ["127.0.0.1:9641".parse().unwrap(), web]
    );
    assert!(settings.warnings.is_empty());
}

/// A program that embeds the relay gets these defaults from `Plan::new`.
#[test]
fn the_schema_has_the_defaults_of_the_plan() {
    let plan = Plan::new([], Policy::new(Realm::new(""), Vec::new()));
    assert_eq!(schema::RELAY_PORTS.default(), plan.relay_ports);
    assert_eq!(schema::ANSWER_RATE.default(), plan.answer_rate);
    assert_eq!(schema::SOCKETS.default(), plan.path);
}

#[test]
fn one_user_gets_a_bounded_share_and_no_scanner_by_default() {
    let settings = resolve(&Layer::default(), &host()).unwrap();
    let policy = &settings.plan.policy;
    let limits = &policy.limits;
    assert!(!policy.tcp_relays);
    assert_eq!((limits.new_peers, limits.allocations_per_user), (50, 100));
    assert_eq!((limits.permissions, limits.channels), (256, 256));
}

/// The default of user_allocations is no mistake of the operator.
#[test]
fn only_written_limits_are_compared_with_the_ports() {
    let warnings = |text: &str| {
        let layer = file::parse(std::path::Path::new("f"), text).unwrap();
        resolve(&layer, &host()).unwrap().warnings.len()
    };
    assert_eq!(warnings("relay_ports = '50000-50009'"), 0);
    let written = "relay_ports = '50000-50009'\nuser_allocations = 100";
    assert_eq!(warnings(written), 1);
}

#[test]
fn a_host_without_ipv6_listens_on_ipv4_alone() {
    let host = HostInfo {
        ipv6: false,
        source_v6: None,
        ..host()
    };
    let settings = resolve(&Layer::default(), &host).unwrap();
    assert_eq!(settings.plan.listeners.len(), 1);
    assert_eq!(settings.plan.policy.relay_addresses.len(), 1);
    let listeners = |text: &str| -> Vec<String> {
        let layer = file::parse(std::path::Path::new("f"), text).unwrap();
        let settings = resolve(&layer, &host).unwrap();
        settings
            .plan
            .listeners
            .iter()
            .map(|listener| listener.address.to_string())
            .collect()
    };
    assert_eq!(
        listeners("listen = ['0.0.0.0:5349', '[::]:5349', '[::]:80']"),
        ["0.0.0.0:5349", "[::]:80"]
    );
}

#[test]
fn external_addresses_pair_with_relay_addresses_of_their_family_in_order() {
    let relays = |text: &str| -> Vec<(String, String)> {
        let settings = settings(text);
        let relays = settings.plan.policy.relay_addresses.iter();
        relays
            .map(|relay| (relay.local.to_string(), relay.external.to_string()))
            .collect()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        relays(
            "relay_address = ['10.0.0.1', '2001:db8::1', '10.0.0.2']\n\
             external_address = ['198.18.0.1', '198.18.0.2', '2001:db8::f']"
        ),
        [
            pair("10.0.0.1", "198.18.0.1"),
            pair("2001:db8::1", "2001:db8::f"),
            pair("10.0.0.2", "198.18.0.2")
        ]
    );
    assert_eq!(
        relays(
            "relay_address = ['10.0.0.1', '10.0.0.2']\nexternal_address = ['10.0.0.2=203.0.113.2', '203.0.113.1']"
        ),
        [
            pair("10.0.0.1", "203.0.113.1"),
            pair("10.0.0.2", "203.0.113.2")
        ]
    );
    assert_eq!(
        diagnostics(
            "relay_address = ['10.0.0.1']\nexternal_address = ['203.0.113.1', '203.0.113.2']"
        ),
        [
            "f:2:36: external_address: no relay address is left for 203.0.113.2; add one with relay_address"
        ]
    );
}

#[test]
fn all_invalid_values_are_reported_at_once() {
    assert_eq!(
        diagnostics(
            "listen = ['localhost']\nrelay_ports = '9-5'\nuser = ['a']\nmax_lifetime = '1m'\nsockets = 'x'"
        ),
        [
            "f:1:11: listen: `localhost` is not IP:PORT; write 0.0.0.0:3478 or [::]:3478",
            "f:2:15: relay_ports: `9-5` ends before it starts; write 5-9",
            "f:3:9: user: the value is not NAME:PASSWORD, separated by a colon",
            "f:4:16: max_lifetime: `1m` is out of range; write 10m or more, the default lifetime of RFC 8656",
            "f:5:11: sockets: `x` is not one of batched, plain",
        ]
    );
}

#[test]
fn probable_mistakes_are_warnings_with_their_places() {
    let warnings = settings(
        "relay_ports = '50000-50009'\nmax_allocations = 11\nrelay_address = ['127.0.0.1']\n\
         external_address = ['10.1.1.1']\nshared_secret = ['short']\nlisten = ['127.0.0.1:50003']",
    )
    .warnings;
    let warnings: Vec<String> = warnings.iter().map(Diagnostic::to_string).collect();
    assert_eq!(
        warnings,
        [
            "f:2:19: max_allocations: 11 allocations do not fit into 10 relayed ports; widen relay_ports or add a \
             relay_address",
            "f:4:21: external_address: 10.1.1.1 is not a public address; clients elsewhere cannot reach it",
            "f:5:18: a secret of 5 characters can be guessed; write 16 or more",
            "f:1:15: relay_ports: the listener 127.0.0.1:50003 lies in the range of relayed ports",
        ]
    );
}

#[test]
fn credentials_for_everyone_are_notable() {
    let advice = |text: &str| -> Vec<String> {
        let settings = settings(text);
        assert!(settings.warnings.is_empty(), "advice does not fail a check");
        settings.advice.iter().map(Diagnostic::to_string).collect()
    };
    let public = "ice_open = 'public'\n";
    let notable = advice(public);
    assert_eq!(notable.len(), 1);
    assert!(
        notable[0].starts_with(
            "f:1:12: ice_open: everyone who reaches the web listener gets credentials"
        ),
        "{notable:?}"
    );
    assert_eq!(advice(&format!("{public}web = '0.0.0.0:8080'")).len(), 1);
    assert!(advice(&format!("{public}web = 'off'")).is_empty());
    assert!(
        advice("web = '0.0.0.0:8080'").is_empty(),
        "strangers get none"
    );
}

#[test]
fn credentials_for_everyone_require_a_secret_because_passwords_do_not_expire() {
    let users = "ice_open = 'public'\nuser = ['u:a long password']\n";
    for listeners in ["", "web = '0.0.0.0:8080'", "web = 'off'\nweb_tls = true"] {
        let found = diagnostics(&format!("{users}{listeners}"));
        assert!(
            found.len() == 1 && found[0].starts_with("f:1:12: ice_open: `public` hands out"),
            "{found:?}"
        );
    }
    settings(&format!("{users}web = 'off'"));
    settings(&format!("{users}shared_secret = ['a long enough secret']"));
}

#[test]
fn removed_words_of_ice_open_name_the_new_ones() {
    for word in ["page", "anyone"] {
        let found = diagnostics(&format!("ice_open = '{word}'"));
        assert!(
            found[0].starts_with(&format!("f:1:12: ice_open: `{word}` was removed: "))
                && found[0].contains("write public"),
            "{found:?}"
        );
    }
}

/// The page of a server that has only users works, and no one receives their passwords.
#[test]
fn the_web_listener_issues_credentials_from_a_generated_secret_instead_of_a_password() {
    let users = "user = ['u:a long password']\n";
    let settings = |more: &str| settings(&format!("{users}{more}"));
    let credentials =
        |settings: &Settings| format!("{:?}", settings.plan.policy.realms[0].credentials);
    for more in [
        "",
        "web = 'off'\nweb_tls = true",
        "room_secret = 'a secret of rooms'",
    ] {
        let settings = settings(more);
        assert_eq!(
            credentials(&settings),
            "Credentials(1 users, 1 secrets)",
            "{more}"
        );
        let Credentials::Minted { secret } = settings.web.settings.ice.credentials else {
            panic!("no credentials: {more}")
        };
        assert_eq!(secret, host().secret);
    }
    assert_eq!(
        credentials(&settings("web = 'off'")),
        "Credentials(1 users, 0 secrets)"
    );
}

#[test]
fn the_web_service_is_off_at_tls_listeners_unless_asked_for() {
    for text in ["", "web = '0.0.0.0:8080'", "web = '[::]:443'"] {
        assert!(!settings(text).web.tls, "{text}");
    }
    let settings = settings("web_tls = true");
    assert!(settings.web.tls);
    let warnings: Vec<String> = settings
        .warnings
        .iter()
        .map(Diagnostic::to_string)
        .collect();
    assert_eq!(
        warnings,
        [
            "f:1:11: web_tls: no listener speaks TLS; set certificate and private_key, or acme_domain"
        ]
    );
}

#[test]
fn secrets_are_read_from_files() {
    let directory = std::env::temp_dir().join(format!("hairpin-resolve-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (secret, users) = (directory.join("secret"), directory.join("users"));
    std::fs::write(&secret, "a secret from a file\n").unwrap();
    std::fs::write(&users, "# staff\n\nann:one\nbob:two:three\n").unwrap();
    let text = format!(
        "shared_secret_file = ['{}']\nuser_file = '{}'",
        secret.display(),
        users.display()
    );
    let settings = settings(&text);
    assert_eq!(
        settings.credentials,
        CredentialSource::Secret {
            secret: "a secret from a file".into(),
            generated: false
        }
    );
    assert_eq!(
        format!("{:?}", settings.plan.policy.realms[0].credentials),
        "Credentials(2 users, 1 secrets)"
    );
    std::fs::write(&users, "ann\n").unwrap();
    assert!(diagnostics(&text)[0].contains("users:1: the value is not NAME:PASSWORD"));
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(diagnostics(&text)[0].contains("cannot be read"));
}

#[test]
fn the_environment_overrides_the_file() {
    let file = file::parse(std::path::Path::new("f"), "realm = 'file'\nshards = 3").unwrap();
    let environment = Layer::from_environment(|name| match name {
        "HAIRPIN_REALM" => Some("environment".into()),
        "HAIRPIN_LISTEN" => Some("127.0.0.1:1, 127.0.0.1:2".into()),
        "HAIRPIN_SHARDS" => Some(String::new()),
        _ => None,
    });
    let layer = file.overlay(environment);
    let settings = resolve(&layer, &host()).unwrap();
    assert_eq!(&*settings.plan.policy.realms[0].name, "environment");
    assert_eq!(
        (settings.plan.listeners.len(), settings.plan.shards),
        (2, 3)
    );
}

#[test]
fn a_secret_in_the_environment_keeps_its_commas() {
    let environment = |user: &'static str, secret: &'static str| {
        let layer = Layer::from_environment(|name| match name {
            "HAIRPIN_USER" => Some(user.into()),
            "HAIRPIN_SHARED_SECRET" => Some(secret.into()),
            "HAIRPIN_ADMIN_TOKEN" => Some("a, token\n".into()),
            _ => None,
        });
        resolve(&layer, &host()).unwrap()
    };
    let settings = environment("zed:pass,word", "first, of two\nsecond, of two\n");
    assert_eq!(
        settings.credentials,
        CredentialSource::Secret {
            secret: "first, of two".into(),
            generated: false
        }
    );
    assert_eq!(
        format!("{:?}", settings.plan.policy.realms[0].credentials),
        "Credentials(1 users, 2 secrets)"
    );
    assert_eq!(settings.admin_token.as_deref(), Some("a, token"));
    let settings = environment("zed:pass,word\nann:other,word", "");
    assert_eq!(
        settings.credentials,
        CredentialSource::User {
            name: "zed".into(),
            password: "pass,word".into()
        }
    );
    assert_eq!(
        format!("{:?}", settings.plan.policy.realms[0].credentials),
        "Credentials(2 users, 1 secrets)",
        "the secret is that of the web listener"
    );
}

#[test]
fn a_further_realm_needs_users_and_a_selector() {
    let settings = settings(
        "realm = 'first'\n[[realms]]\nname = 'second'\nuser = ['a:b']\norigin = ['https://x']\nallow_peer = ['10.0.0.0/8']",
    );
    let [first, second] = settings.plan.policy.realms.as_slice() else {
        panic!()
    };
    assert_eq!((&*first.name, &*second.name), ("first", "second"));
    assert_eq!(
        second.peers.verdict("10.1.1.1".parse().unwrap()),
        Verdict::Permitted
    );
    assert_eq!(
        first.peers.verdict("10.1.1.1".parse().unwrap()),
        Verdict::Refused
    );
    assert_eq!(
        diagnostics("[[realms]]\nname = 'hairpin'"),
        [
            "f:2:8: name: there is another realm `hairpin`; rename or remove one",
            "f:2:8: name: the realm `hairpin` has no users; set user or shared_secret",
            "f:2:8: name: no request selects the realm `hairpin`; set listener, origin or server_name",
        ]
    );
}

#[test]
fn nat_discovery_listens_on_four_addresses() {
    let settings = settings("listen = ['127.0.0.1:3478']\nalternate_listen = ['127.0.0.2:3479']");
    let listeners: Vec<String> = settings
        .plan
        .listeners
        .iter()
        .map(|l| l.address.to_string())
        .collect();
    assert_eq!(listeners.len(), 4);
    for address in [
        "127.0.0.1:3478",
        "127.0.0.1:3479",
        "127.0.0.2:3478",
        "127.0.0.2:3479",
    ] {
        assert!(
            listeners.iter().any(|listener| listener == address),
            "{address}"
        );
    }
    for (text, sentence) in [
        (
            "alternate_listen = ['127.0.0.2:3479']",
            "must both name an address of this host",
        ),
        (
            "listen = ['127.0.0.1:1']\nalternate_listen = ['127.0.0.2:1']",
            "must differ",
        ),
        (
            "listen = ['[::1]:1']\nalternate_listen = ['127.0.0.2:1']",
            "no listener has the address family",
        ),
    ] {
        assert!(diagnostics(text)[0].contains(sentence), "{text}");
    }
}

#[test]
fn a_realm_inherits_the_limits_that_it_does_not_set() {
    let settings = settings(
        "user_bandwidth = '1M'\nuser_bytes = '10G'\nuser_period = '7d'\nmax_bandwidth = '1G'\n[[realms]]\nname = 'a'\n\
         user = ['a:b']\norigin = ['https://a']\nuser_bandwidth = '2M'\n[[realms]]\nname = 'b'\nuser = ['a:b']\n\
         origin = ['https://b']",
    );
    let policy = &settings.plan.policy;
    assert_eq!(
        policy.limits.user_octets,
        Some((10_000_000_000, Duration::from_secs(604_800)))
    );
    let of = |realm: usize| policy.limits_of(&policy.realms[realm]).bandwidth;
    assert_eq!(
        (of(0).user, of(1).user, of(2).user),
        (Some(1_000_000), Some(2_000_000), Some(1_000_000))
    );
    assert_eq!(
        (of(1).all, of(1).realm, of(1).allocation),
        (Some(1_000_000_000), None, None)
    );
}

#[test]
fn auto_maps_the_discovered_addresses() {
    let layer = file::parse(std::path::Path::new("f"), "external_address = ['auto']").unwrap();
    let public = PublicAddresses {
        v4: "203.0.113.7".parse().ok(),
        v6: None,
    };
    let settings = resolve(
        &layer,
        &HostInfo {
            public: Some(public),
            ..host()
        },
    )
    .unwrap();
    let external: Vec<String> = settings
        .plan
        .policy
        .relay_addresses
        .iter()
        .map(|relay| relay.external.to_string())
        .collect();
    assert_eq!(external, ["203.0.113.7", "2001:db8::5"]);
}

#[test]
fn two_services_cannot_use_one_port() {
    for (text, expected) in [
        (
            "listen = ['0.0.0.0:8080']",
            "f:1:11: listen: web at 127.0.0.1:8080 and the listener 0.0.0.0:8080 use",
        ),
        (
            "listen = ['127.0.0.1:9641']",
            "f:1:11: listen: admin at 127.0.0.1:9641 and the listener",
        ),
        (
            "web = '[::]:3478'",
            "f:1:7: web: web at [::]:3478 and the listener 0.0.0.0:3478",
        ),
        (
            "web = '127.0.0.1:9641'",
            "f:1:7: web: web at 127.0.0.1:9641 and admin at 127.0.0.1:9641",
        ),
    ] {
        assert!(
            diagnostics(text)
                .iter()
                .any(|fault| fault.starts_with(expected)),
            "{text}: {:?}",
            diagnostics(text)
        );
    }
    for right in [
        "listen = ['[::]:8080']",
        "listen = ['127.0.0.2:8080']",
        "web = '127.0.0.1:0'\nadmin = '127.0.0.1:0'",
        "listen = ['0.0.0.0:8080']\nweb = 'off'",
        "web = 'off'\nadmin = '127.0.0.1:8080'",
    ] {
        settings(right);
    }
}

/// The configuration is not wrong: the next start may succeed.
#[test]
fn a_failed_discovery_is_transient_and_names_the_server() {
    let unreachable = HostInfo {
        public: Some(PublicAddresses::default()),
        ..host()
    };
    let error = |text: &str| {
        let layer = file::parse(std::path::Path::new("f"), text).unwrap();
        resolve(&layer, &unreachable).unwrap_err()
    };
    let cloud = error("external_address = ['auto']");
    assert!(
        cloud.is_transient() && cloud.to_string().contains("metadata service answers"),
        "{cloud}"
    );
    let stun = error("external_address = ['auto']\nexternal_stun = 'stun.example.net:3478'");
    assert!(
        stun.is_transient()
            && stun
                .to_string()
                .contains("stun.example.net:3478 of external_stun does not answer"),
        "{stun}"
    );
    assert!(!stun.to_string().contains("set external_stun"), "{stun}");
    let wrong = error("external_address = ['auto']\nexternal_stun = 'stun.example.net'");
    assert!(
        !wrong.is_transient() && wrong.to_string().contains("not HOST:PORT"),
        "{wrong}"
    );
}
