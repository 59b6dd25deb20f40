//! Promises of the values: what is one, what is not and why, and that a set of them means what its parts meant.

use super::*;
use proptest::prelude::*;

fn says<T: FromStr<Err = GrammarError> + fmt::Debug>(text: &str) -> String {
    text.parse::<T>().expect_err(text).to_string()
}

#[test]
fn an_instance_names_its_table_and_its_chains() {
    let none = Instance::default();
    assert_eq!((none.table().as_str(), none.chains().as_str()), ("outrigger", "outrigger"));
    let web: Instance = "web-1".parse().unwrap();
    assert_eq!((web.table().as_str(), web.chains().as_str()), ("outrigger_web-1", "outrigger-web-1"));
    assert_eq!(Instance::of_table("outrigger_web-1"), Some(web));
    assert_eq!(Instance::of_table("outrigger"), Some(none));
    for other in ["outriggers", "outrigger_", "outrigger_A", "filter"] {
        assert_eq!(Instance::of_table(other), None, "{other}");
    }
    for text in ["", "1a", "Web", "a_b", "a\"b", "fifteen-letters"] {
        assert!(says::<Instance>(text).starts_with("a name is at most 14"), "{text}");
    }
}

#[test]
fn ports_are_one_or_a_range() {
    assert_eq!("8000-8999".parse::<Ports>().unwrap().to_string(), "8000-8999");
    assert_eq!("80".parse::<Ports>().unwrap(), Ports::one(80));
    for text in ["0", "65536", "9-8", "http", "-", "1-", "1:2"] {
        says::<Ports>(text);
    }
}

#[test]
fn a_network_begins_where_its_prefix_says() {
    for text in ["10.0.0.0/8", "0.0.0.0/0", "10.1.2.3", "2001:db8::/32", "::/0", "::1"] {
        assert_eq!(text.parse::<Net>().unwrap().to_string(), text);
    }
    assert_eq!("10.1.2.3/32".parse::<Net>().unwrap().to_string(), "10.1.2.3");
    assert_eq!(
        says::<Net>("10.1.2.3/8"),
        "10.1.2.3 is not the beginning of its network: write 10.0.0.0/8 or 10.1.2.3"
    );
    for text in ["10.0.0.0/33", "::/129", "10.0/8", "here", "", "/8"] {
        assert!(says::<Net>(text).starts_with("it must be an address or a network"), "{text}");
    }
    assert_eq!("10.0.0.0/8".parse::<Net>().unwrap().second().to_string(), "10.0.0.1");
    assert_eq!("10.0.0.7".parse::<Net>().unwrap().second().to_string(), "10.0.0.7");
}

#[test]
fn nothing_that_leaves_can_end_a_word_of_a_ruleset() {
    for text in ["a b", "a;b", "a\"b", "a'b", "a{b", "a\nb", "a#b"] {
        says::<Instance>(text);
        says::<Account>(text);
        says::<Interface>(text);
        says::<Cgroup>(text);
    }
    says::<Cgroup>("../x");
    says::<Cgroup>("/");
    says::<Interface>("*");
    assert_eq!("/sys/fs/cgroup/a.slice/b".parse::<Cgroup>().unwrap().level(), 2);
    assert!("docker*".parse::<Interface>().unwrap().matches("docker0"));
    assert_eq!("0x1F".parse::<Mark>().unwrap().number(), 31);
    assert_eq!(says::<Mark>("0"), "a mark is a number from 1 to 4294967295, or 0x1 to 0xffffffff");
}

fn ports() -> impl Strategy<Value = Vec<Ports>> {
    let range = (1_u16..200, 0_u16..50).prop_map(|(first, more)| Ports { first, last: first + more });
    prop::collection::vec(range, 0..8)
}

fn nets() -> impl Strategy<Value = Vec<Net>> {
    let v4 = (any::<u8>(), 24_u8..=32).prop_map(|(last, prefix)| Net {
        address: masked(Ipv4Addr::new(10, 0, 0, last).into(), prefix),
        prefix,
    });
    prop::collection::vec(v4, 0..8)
}

proptest! {
    #[test]
    fn merged_ports_are_the_same_and_apart(ports in ports(), probe in 1_u16..300) {
        let merged = Ports::merged(ports.iter().copied());
        let inside = |ports: &[Ports]| ports.iter().any(|ports| ports.contains(probe));
        prop_assert_eq!(inside(&ports), inside(&merged));
        prop_assert!(merged.windows(2).all(|pair| pair[0].last + 1 < pair[1].first));
    }

    #[test]
    fn merged_networks_are_the_same_and_apart(nets in nets(), last in any::<u8>()) {
        let merged = Net::merged(nets.iter().copied());
        let probe = IpAddr::from([10, 0, 0, last]);
        let inside = |nets: &[Net]| nets.iter().filter(|net| net.contains(probe)).count();
        prop_assert_eq!(inside(&nets) > 0, inside(&merged) > 0);
        prop_assert!(inside(&merged) <= 1);
    }
}
