//! Numbers with a range: checked once, when they are made, so that no law has to check them again.
//!
//! Enters: what a person wrote. Leaves: a number that cannot be out of range, or [`OutOfRange`], which says what was
//! allowed. Never here: what the numbers do.

/// A number outside of what its setting allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {given}: it goes from {least} to {most}")]
pub struct OutOfRange {
    /// The setting, for people.
    pub what: &'static str,
    /// What was given.
    pub given: u32,
    /// The least that is allowed.
    pub least: u32,
    /// The most that is allowed.
    pub most: u32,
}

pub(crate) const fn out_of_range(
    what: &'static str,
    given: u32,
    (least, most): (u32, u32),
) -> Option<OutOfRange> {
    if given < least || given > most { Some(OutOfRange { what, given, least, most }) } else { None }
}

/// Declares a `u32` with a range and a default, both part of its documentation.
macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $what:literal, $least:literal..=$most:literal, default $default:literal) => {
        $(#[$doc])*
        #[doc = ""]
        #[doc = concat!("From ", $least, " to ", $most, "; by default ", $default, ".")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// The least that is allowed.
            pub const LEAST: Self = Self($least);
            /// The most that is allowed.
            pub const MOST: Self = Self($most);
            /// What is used when nothing is said.
            pub const DEFAULT: Self = Self($default);

            /// Takes a number that is in the range.
            ///
            /// # Errors
            /// [`OutOfRange`](crate::OutOfRange) when it is not.
            pub const fn new(given: u32) -> Result<Self, $crate::OutOfRange> {
                match $crate::numbers::out_of_range($what, given, ($least, $most)) {
                    Some(error) => Err(error),
                    None => Ok(Self(given)),
                }
            }

            /// The number.
            pub const fn number(self) -> u32 {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::DEFAULT
            }
        }
    };
}
pub(crate) use bounded;

#[cfg(test)]
mod tests {
    use crate::Tolerance;

    #[test]
    fn both_ends_of_the_range_are_in_it_and_their_neighbours_are_not() {
        let found = [99, 100, 1_000, 1_001].map(|given| Tolerance::new(given).ok().map(Tolerance::number));
        assert_eq!(found, [None, Some(100), Some(1_000), None]);
        assert_eq!(Tolerance::default().number(), 150);
        assert_eq!((Tolerance::LEAST.number(), Tolerance::MOST.number()), (100, 1_000));
    }

    #[test]
    fn the_error_says_what_is_allowed() {
        let error = Tolerance::new(99).expect_err("it is out of range");
        assert_eq!(error.to_string(), "the tolerance in percent is 99: it goes from 100 to 1000");
    }
}
