//! What answers in a row make of an application. Pure.
//!
//! ```text
//!            first answer                unhealthy threshold of bad ones in a row
//! (unasked) ──────────────> well ──────────────────────────────────────────────> not well
//!     │                      ^        healthy threshold of good ones in a row        │
//!     └──────────────────────┴───────────────────────────────────────────────────────┘
//! ```

/// Good answers in a row that make an application well again; Kubernetes' default.
const HEALTHY: u32 = 1;
/// Bad answers in a row that make it not well: one may be lost to a pause. Kubernetes' default.
const UNHEALTHY: u32 = 3;

/// How many answers in a row it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thresholds {
    pub(super) healthy: u32,
    pub(super) unhealthy: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { healthy: HEALTHY, unhealthy: UNHEALTHY }
    }
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Good,
    Bad,
}

/// What is known of an application by one check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Nothing before the first answer.
    found: Option<Answer>,
    /// Answers in a row that say otherwise.
    otherwise: u32,
}

impl Verdict {
    /// Whether it is well; nothing before the first answer.
    pub(super) fn found(self) -> Option<Answer> {
        self.found
    }

    /// Takes an answer in. Returns whether the verdict is another now.
    pub(super) fn take(&mut self, answer: Answer, thresholds: Thresholds) -> bool {
        if self.found == Some(answer) {
            self.otherwise = 0;
            return false;
        }
        self.otherwise = self.otherwise.saturating_add(1);
        let needed = match (self.found, answer) {
            (None, _) => 1,
            (Some(_), Answer::Good) => thresholds.healthy,
            (Some(_), Answer::Bad) => thresholds.unhealthy,
        };
        if self.otherwise < needed {
            return false;
        }
        *self = Self { found: Some(answer), otherwise: 0 };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The verdicts that these answers make, one by one: `+` is good.
    fn verdicts(answers: &str, thresholds: Thresholds) -> String {
        let mut verdict = Verdict::default();
        let said = answers.chars().map(|answer| {
            verdict.take(if answer == '+' { Answer::Good } else { Answer::Bad }, thresholds);
            match verdict.found() {
                Some(Answer::Good) => '+',
                Some(Answer::Bad) => '-',
                None => '?',
            }
        });
        said.collect()
    }

    #[test]
    fn the_first_answer_decides_and_later_it_takes_some_in_a_row() {
        let thresholds = Thresholds { healthy: 2, unhealthy: 3 };
        for (answers, said) in
            [("+", "+"), ("-", "-"), ("+--+---", "++++++-"), ("-+-++", "----+"), ("+---+-++", "+++----+")]
        {
            assert_eq!(verdicts(answers, thresholds), said, "{answers}");
        }
        assert_eq!(verdicts("+--+---+", Thresholds::default()), "++++++-+");
    }

    proptest! {
        #[test]
        fn a_verdict_changes_after_exactly_its_threshold(
            answers in prop::collection::vec(any::<bool>(), 1..60), healthy in 1_u32..5, unhealthy in 1_u32..5,
        ) {
            let thresholds = Thresholds { healthy, unhealthy };
            let mut verdict = Verdict::default();
            let mut since_change: Vec<Answer> = Vec::new();
            for good in answers {
                let answer = if good { Answer::Good } else { Answer::Bad };
                let before = verdict.found();
                since_change.push(answer);
                let changed = verdict.take(answer, thresholds);
                prop_assert_eq!(changed, verdict.found() != before);
                if changed && before.is_some() {
                    let needed = if good { healthy } else { unhealthy } as usize;
                    let last = since_change.iter().rev().take_while(|it| **it == answer).count();
                    prop_assert_eq!(last, needed);
                }
                if changed { since_change.clear(); }
            }
        }
    }
}
