//! Failures made on purpose, as requests read them. Pure: what enters is a request's head and a source of randomness, what
//! leaves is what is to happen to it.

use super::PolicyError;
use crate::route::{AnyOf, RequestHead};
use mesh_balance::OutOfRange;
use mesh_protocol::limits::{FaultAnswer, FaultRule};
use std::time::Duration;

/// The failures that a policy asks for.
#[derive(Debug)]
pub struct Faults(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    fits: AnyOf,
    delay: Option<(Duration, u32)>,
    abort: Option<(FaultAnswer, u32)>,
}

/// What is to happen to a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault {
    /// It waits first.
    pub delay: Option<Duration>,
    /// It is answered with this and goes no further.
    pub abort: Option<FaultAnswer>,
}

impl Faults {
    /// Compiles the rules; nothing if there is none.
    ///
    /// # Errors
    /// [`PolicyError`] with the first part that can't be used.
    pub fn compile(rules: &[FaultRule]) -> Result<Option<Self>, PolicyError> {
        let compiled = rules.iter().map(|rule| {
            for (_, percent) in rule.delay.iter() {
                check(*percent)?;
            }
            for (_, percent) in rule.abort.iter() {
                check(*percent)?;
            }
            Ok(Rule { fits: AnyOf::compile(&rule.matches)?, delay: rule.delay, abort: rule.abort })
        });
        let rules = compiled.collect::<Result<Vec<_>, PolicyError>>()?;
        Ok((!rules.is_empty()).then_some(Self(rules)))
    }

    /// What is to happen to a request, by the first rule that fits it. `random` is asked once for each part of the rule.
    pub fn decide(&self, head: RequestHead<'_>, mut random: impl FnMut() -> u64) -> Fault {
        let Some(rule) = self.0.iter().find(|rule| rule.fits.fit(head)) else { return Fault::default() };
        let mut strikes = |percent: u32| random() % 100 < u64::from(percent);
        Fault {
            delay: rule.delay.filter(|(_, percent)| strikes(*percent)).map(|(delay, _)| delay),
            abort: rule.abort.filter(|(_, percent)| strikes(*percent)).map(|(answer, _)| answer),
        }
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.0.len()
    }
}

fn check(percent: u32) -> Result<(), OutOfRange> {
    if percent <= 100 {
        return Ok(());
    }
    Err(OutOfRange { what: "a percentage of failures", given: percent, least: 0, most: 100 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue, Method};
    use mesh_protocol::service::{PathMatch, RouteMatch, TextMatch, ValueMatch};
    use proptest::prelude::*;

    fn decide(faults: &Faults, headers: &HeaderMap, random: impl FnMut() -> u64) -> Fault {
        faults.decide(RequestHead { method: &Method::GET, path: "/", query: None, headers }, random)
    }

    fn only_testers() -> RouteMatch {
        let header = ValueMatch { name: "x-tester".to_owned(), value: TextMatch::Exact("1".to_owned()) };
        let path = PathMatch::Prefix("/".to_owned());
        RouteMatch { rule: 0, path, method: None, headers: vec![header], query_params: vec![] }
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_no_other() {
        let second = Duration::from_secs(1);
        let first = FaultRule {
            matches: vec![only_testers()],
            delay: None,
            abort: Some((FaultAnswer::Http(503), 100)),
        };
        let rest = FaultRule { matches: vec![], delay: Some((second, 100)), abort: None };
        let faults = Faults::compile(&[first, rest]).unwrap().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(decide(&faults, &headers, || 99), Fault { delay: Some(second), abort: None });
        headers.insert("x-tester", HeaderValue::from_static("1"));
        let aborted = Fault { delay: None, abort: Some(FaultAnswer::Http(503)) };
        assert_eq!(decide(&faults, &headers, || 99), aborted);
        assert!(Faults::compile(&[]).unwrap().is_none());
    }

    #[test]
    fn a_percentage_beyond_100_is_refused_by_what_it_is() {
        let rule = FaultRule { matches: vec![], delay: None, abort: Some((FaultAnswer::Grpc(14), 101)) };
        let error = Faults::compile(&[rule]).unwrap_err();
        assert_eq!(error.to_string(), "a percentage of failures is 101: it goes from 0 to 100");
    }

    proptest! {
        #[test]
        fn as_many_of_a_hundred_are_struck_as_the_percentage_says(delay in 0_u32..=100, abort in 0_u32..=100) {
            let rule = FaultRule {
                matches: vec![],
                delay: Some((Duration::from_secs(1), delay)),
                abort: Some((FaultAnswer::Grpc(14), abort)),
            };
            let faults = Faults::compile(&[rule]).unwrap().unwrap();
            let (mut delayed, mut aborted) = (0, 0);
            for draw in 0..100 {
                let fault = decide(&faults, &HeaderMap::new(), || draw);
                delayed += u32::from(fault.delay.is_some());
                aborted += u32::from(fault.abort.is_some());
            }
            prop_assert_eq!((delayed, aborted), (delay, abort));
        }
    }
}
