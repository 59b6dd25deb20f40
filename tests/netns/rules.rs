//! What installing and uninstalling leave behind: exactly the rules of one instance, or nothing.

use std::os::unix::process::CommandExt;
use std::process::Command;
use tests::netns::{Host, no_probe_is_left, sidecar, told};

const FIREWALL: &str = "table inet firewall { chain input { type filter hook input priority 0; policy accept; tcp dport \
                        1 drop; }; }";

#[test]
fn installing_twice_is_installing_once() {
    let host = Host::new();
    for mode in ["redirect", "tproxy"] {
        let install = format!("install --sidecar-uid 900 --inbound-mode {mode}");
        host.intercepts(&install);
        let (rules, routing) = (host.rules(), host.sh("ip", &["rule"]));
        host.intercepts(&install);
        assert_eq!(host.rules(), rules);
        assert_eq!(host.sh("ip", &["rule"]), routing);
    }
}

#[test]
fn uninstalling_leaves_nothing_and_may_be_repeated() {
    let host = Host::new();
    let (routing, routing_v6) = (host.sh("ip", &["rule"]), host.sh("ip", &["-6", "rule"]));
    assert_eq!(host.intercepts("uninstall"), "nothing to remove: outrigger\n");
    for mode in ["redirect", "tproxy"] {
        host.intercepts(&format!("install --sidecar-uid 900 --inbound-mode {mode}"));
        assert!(host.rules().contains("table inet outrigger"));
        assert_eq!(host.intercepts("uninstall"), "removed: outrigger\n");
        assert_eq!(host.rules(), "");
        assert_eq!(host.sh("ip", &["rule"]), routing);
        assert_eq!(host.sh("ip", &["-6", "rule"]), routing_v6);
        no_probe_is_left(&host);
    }
}

#[test]
fn a_change_of_mode_takes_the_old_routing_away() {
    let host = Host::new();
    let routing = host.sh("ip", &["rule"]);
    host.intercepts("install --sidecar-uid 900 --inbound-mode tproxy");
    assert_ne!(host.sh("ip", &["rule"]), routing);
    host.intercepts("install --sidecar-uid 900 --inbound-mode redirect");
    assert_eq!(host.sh("ip", &["rule"]), routing);
}

#[test]
fn what_is_printed_is_what_is_installed() {
    let host = Host::new();
    let flags = "--sidecar-uid 900 --include-outbound-port 80 --include-outbound-cidr 10.0.0.0/8";
    let printed = host.intercepts(&format!("print {flags}"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), printed).unwrap();
    host.sh("nft", &["-f", file.path().to_str().unwrap()]);
    let by_hand = host.rules();
    host.intercepts(&format!("install {flags}"));
    assert_eq!(host.rules(), by_hand);
}

#[test]
fn rules_of_others_stay_as_they_are() {
    let host = Host::new();
    host.sh("nft", &[FIREWALL]);
    let theirs = host.rules();
    host.intercepts("install --sidecar-uid 900");
    assert!(host.rules().contains(theirs.trim()), "{}", host.rules());
    host.intercepts("uninstall");
    assert_eq!(host.rules(), theirs);
}

#[test]
fn tables_that_iptables_can_t_read_are_no_hindrance() {
    let host = Host::new();
    host.sh("nft", &["table ip nat { chain prerouting { type nat hook prerouting priority -100; ip daddr 192.0.2.7 dnat \
                      to 10.0.0.1; }; }"]);
    let theirs = host.rules();
    host.intercepts("install --sidecar-uid 900");
    host.intercepts("uninstall");
    assert_eq!(host.rules(), theirs);
}

#[test]
fn a_table_of_our_name_that_is_not_ours_is_refused() {
    let host = Host::new();
    host.sh("nft", &["table inet outrigger { chain a { counter; }; }"]);
    let theirs = host.rules();
    for verb in ["install --sidecar-uid 900", "uninstall"] {
        let said = host.refuses(verb);
        assert!(
            said.contains("table inet outrigger exists and was not made by `sidecar intercept`"),
            "{said}"
        );
        assert!(said.contains("`nft delete table inet outrigger`"), "{said}");
    }
    assert_eq!(host.rules(), theirs);
}

#[test]
fn another_mesh_s_capture_is_refused() {
    let host = Host::new();
    host.sh("nft", &["table ip nat { chain ISTIO_OUTPUT { counter; }; }"]);
    let said = host.refuses("install --sidecar-uid 900");
    assert!(said.starts_with("sidecar: rules of Istio capture traffic on this machine already"), "{said}");
    assert!(!host.rules().contains("outrigger"));
}

#[test]
fn an_unknown_user_changes_nothing() {
    let host = Host::new();
    let said = host.refuses("install --sidecar-uid no-such-user-here");
    assert!(said.contains("make one with `useradd --system --no-create-home no-such-user-here`"), "{said}");
    assert_eq!(host.rules(), "");
}

#[test]
fn a_control_group_that_is_not_there_changes_nothing() {
    let host = Host::new();
    let said = host.refuses("install --include-cgroup no-such.slice --inbound-mode off");
    assert!(said.contains("there is no control group (version 2) /sys/fs/cgroup/no-such.slice"), "{said}");
    assert!(said.contains("`systemctl start no-such.slice`"), "{said}");
    assert_eq!(host.rules(), "");
}

#[test]
fn two_installations_at_once_take_turns() {
    let host = Host::new();
    let web = "install --name web --include-uid 1001 --include-inbound-port 8080";
    let api = "install --name api --include-uid 1002 --include-inbound-port 9000 --outbound-port 16001 --inbound-port \
               16006 --inbound-mtls-port 16008 --dns-port 16053 --admin-port 16000 --metrics-port 16020";
    std::thread::scope(|scope| {
        let all: Vec<_> = [web, api, web, api]
            .map(|install| scope.spawn(|| host.intercepts(install)))
            .into_iter()
            .collect();
        for one in all {
            let said = one.join().unwrap();
            assert!(!said.contains("not probed"), "{said}");
        }
    });
    assert!(
        host.rules().contains("table inet outrigger_web")
            && host.rules().contains("table inet outrigger_api")
    );
}

#[test]
fn without_rights_the_message_says_so() {
    let host = Host::new();
    for verb in ["install", "verify"] {
        let mut command = Command::new(sidecar());
        command.args(["intercept", verb, "--sidecar-uid", "900"]).uid(1001).gid(1001);
        let output = host.run(command);
        assert_eq!(output.status.code(), Some(1));
        assert!(told(&output).contains("needs root (CAP_NET_ADMIN)"), "{}", told(&output));
    }
    assert_eq!(host.rules(), "");
}

#[test]
fn without_nft_and_iptables_the_message_says_what_to_install() {
    let host = Host::new();
    let hide = "for tool in nft iptables-nft-save iptables-save; do path=$(readlink -f \"$(command -v $tool)\") && mount \
                --bind /dev/null \"$path\" 2>/dev/null; done; exec \"$@\"";
    for verb in ["install", "uninstall"] {
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash", "-c", hide, "bash"]).arg(sidecar()).args(["intercept", verb]);
        if verb == "install" {
            command.args(["--sidecar-uid", "900"]);
        }
        let output = host.run(command);
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(told(&output).contains("`apt-get install nftables`"), "{}", told(&output));
    }
}
