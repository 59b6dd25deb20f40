//! An endpoint's share of the requests to its Service.

use crate::error::DecodeError;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// An endpoint's share, relative to the others': one of weight 2 gets twice what one of weight 1 gets. From 1, the default,
/// to 65,535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Weight(NonZeroU16);

/// A number that is no weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a weight is a whole number from 1 to 65535")]
pub struct InvalidWeight;

impl Weight {
    /// The weight, as a number.
    pub fn number(self) -> u16 {
        self.0.get()
    }

    /// On the wire 0 is what is not said: 1.
    pub(crate) fn of_wire(number: u32) -> Result<Self, DecodeError> {
        match number {
            0 => Ok(Self::default()),
            number => number.try_into().map_err(|_| DecodeError::value("weight", "it is more than 65535")),
        }
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(NonZeroU16::MIN)
    }
}

impl TryFrom<u32> for Weight {
    type Error = InvalidWeight;
    fn try_from(number: u32) -> Result<Self, InvalidWeight> {
        u16::try_from(number).ok().and_then(NonZeroU16::new).map(Self).ok_or(InvalidWeight)
    }
}

impl FromStr for Weight {
    type Err = InvalidWeight;
    fn from_str(text: &str) -> Result<Self, InvalidWeight> {
        text.parse::<u32>().map_err(|_| InvalidWeight)?.try_into()
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_above_zero_and_fits_into_16_bits() {
        let number = |text: &str| text.parse::<Weight>().map(Weight::number).ok();
        assert_eq!(
            ["0", "1", "65535", "65536", "-1", "1.5", ""].map(number),
            [None, Some(1), Some(65_535), None, None, None, None]
        );
        assert_eq!(Weight::of_wire(0), Ok(Weight::default()), "what is not said");
        assert!(Weight::of_wire(65_536).is_err());
    }
}
