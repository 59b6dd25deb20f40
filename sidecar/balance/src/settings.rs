//! Everything that can be said about how a service's endpoints are chosen.
//!
//! Enters: what a person wrote, already in range. Leaves: [`Settings`], read by the balancer. Never here: the laws.

use crate::numbers::bounded;
use crate::{Detection, OutOfRange, SlowStart};

bounded!(
    /// How many endpoints are drawn to find the one with the fewest requests. Two are nearly as good as all (Mitzenmacher,
    /// 2001); more herd towards the single best one as soon as several clients choose at once, and follow weights less
    /// while few requests are under way.
    Choices, "the number of choices", 2..=16, default 2
);

bounded!(
    /// When less than this share of a level's endpoints is healthy, in percent of their weight, and no other level can
    /// take over, its ejected endpoints are used too; when even then the share is not reached, those that are not ready.
    ///
    /// 0, the default: only when there is no other. Envoy's default is 50, and Istio switches it off: during a rollout
    /// that surges, half of the endpoints are not ready because they are starting, and would refuse what panic sends
    /// them. What panic protects from, ejections that leave too few to carry the load, `EjectedShare` bounds already.
    PanicThreshold, "the panic threshold in percent", 0..=100, default 0
);

bounded!(
    /// How much more than its part a level can carry, in percent. 140, Envoy's value: a level gives nothing away while
    /// at least 1 / 1.4 = 71.4 % of it is healthy; below that, 1.4 times its healthy share stays.
    Overprovisioning, "the overprovisioning factor in percent", 100..=1_000, default 140
);

bounded!(
    /// How much more than its part one endpoint may have under way when requests are hashed, in percent of the average of
    /// all. A request beyond it goes to the next endpoint in its order. 125: a quarter more.
    ///
    /// Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016); Vimeo's HAProxy uses 125.
    LoadBound, "the bound of load in percent", 101..=1_000, default 125
);

bounded!(
    /// Points of a hash ring. See [`RingSize`].
    Points, "the number of points on the ring", 1..=1_048_576, default 1_024
);

/// How many points a ring has. Each takes 10 bytes.
///
/// An endpoint of the least weight has 128 points, which spreads keys to about ± 9 %, and more while the ring is smaller
/// than `least`; fewer when it were larger than `most`. The number changes by powers of two only: adding an endpoint moves
/// to it the keys it should have and no others, except where such a step is crossed. (Envoy's ring rescales with every
/// change, and about twice as many keys move.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSize {
    least: Points,
    most: Points,
}

impl RingSize {
    /// A ring of these bounds.
    ///
    /// # Errors
    /// [`OutOfRange`] when `most` is below `least`.
    pub fn new(least: Points, most: Points) -> Result<Self, OutOfRange> {
        if most < least {
            let (least, given) = (least.number(), most.number());
            let what = "the ring's largest size, which is not below its least,";
            return Err(OutOfRange { what, given, least, most: Points::MOST.number() });
        }
        Ok(Self { least, most })
    }

    /// The least number of points, if there are endpoints at all.
    pub fn least(self) -> Points {
        self.least
    }

    /// The largest number of points, unless there are more endpoints than that: each has one.
    pub fn most(self) -> Points {
        self.most
    }
}

impl Default for RingSize {
    /// From 1,024 to 65,536 points: at most 640 KiB.
    fn default() -> Self {
        Self { least: Points::DEFAULT, most: Points::new(65_536).unwrap_or(Points::MOST) }
    }
}

/// Places of a Maglev table, a prime number. Each takes two bytes.
///
/// Every endpoint gets its share to within one place, so that with a hundred times as many places as endpoints (the
/// paper's advice) shares differ by 1 %. Sidecars agree only if their tables have the same size, and keys move when it
/// changes: hence it does not follow the number of endpoints. With more endpoints than places, some get
/// nothing while others are healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TableSize(u32);

/// The size of a table that is no prime number, or out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTableSize {
    /// Too small or too large.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// With a size that is not prime, an endpoint's steps through the table would not reach every place.
    #[error("the table's size is {given}, which is not a prime number: the next one is {next}")]
    NotPrime {
        /// What was given.
        given: u32,
        /// A size that is.
        next: u32,
    },
}

impl TableSize {
    const LEAST: u32 = 2;
    /// The largest prime below 5,000,012: Envoy's limit.
    const MOST: u32 = 5_000_011;

    /// A table of this size.
    ///
    /// # Errors
    /// [`BadTableSize`] when it is not a prime number from 2 to 5,000,011.
    pub fn new(given: u32) -> Result<Self, BadTableSize> {
        if !(Self::LEAST..=Self::MOST).contains(&given) {
            let (least, most) = (Self::LEAST, Self::MOST);
            return Err(OutOfRange { what: "the table's size", given, least, most }.into());
        }
        match (given..=Self::MOST).find(|size| is_prime(*size)) {
            Some(next) if next != given => Err(BadTableSize::NotPrime { given, next }),
            Some(_) | None => Ok(Self(given)),
        }
    }

    /// The number of places.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl Default for TableSize {
    /// 16,381, the largest prime below 2^14: 32 KiB, and even to 1 % for 160 endpoints. The paper's 65,537 is for
    /// front doors with hundreds of backends; a sidecar holds one table for each such service in each worker.
    fn default() -> Self {
        Self(16_381)
    }
}

fn is_prime(number: u32) -> bool {
    let divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number >= 2 && divisors.into_iter().all(|divisor| !number.is_multiple_of(divisor))
}

/// How one endpoint is chosen among those of a level.
///
/// Exhaustive: whoever translates a policy into words must know all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Two at random by weight, the one with the lower expected latency times load is used. The default, since it finds
    /// slow and overloaded endpoints by itself.
    #[default]
    PeakEwma,
    /// A few at random by weight, the one with the fewest requests under way for its weight is used. For requests whose
    /// latency says nothing about the endpoint.
    LeastRequest(Choices),
    /// In turns, interleaved by weight: the earliest deadline comes next.
    RoundRobin,
    /// At random by weight.
    Random,
    /// By the request's key on a ring of points (Karger et al., 1997; libketama). Little moves when endpoints change;
    /// shares are less even than Maglev's.
    RingHash(RingSize, Option<LoadBound>),
    /// By the request's key in a table (Eisenbud et al., "Maglev", NSDI 2016). Even shares; a little more moves than needs to.
    Maglev(TableSize, Option<LoadBound>),
}

impl Policy {
    /// Whether it compares endpoints by what a request to them costs.
    pub fn measures(self) -> bool {
        match self {
            Self::PeakEwma | Self::LeastRequest(_) => true,
            Self::RoundRobin | Self::Random | Self::RingHash(..) | Self::Maglev(..) => false,
        }
    }
}

bounded!(
    /// How many times as much a farther endpoint may cost before it is worth the way, in percent, seen from the other
    /// side: at 200 a farther endpoint takes a request when it costs less than half of what the nearer one does.
    TransferCost, "the transfer cost in percent", 100..=10_000, default 200
);

/// Whether nearer endpoints are preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LocalityPreference {
    /// Distance does not matter.
    #[default]
    None,
    /// The nearest endpoints of a priority first; the next nearest take over what they cannot carry, by the same rule as
    /// from one priority to the next. Needs no other setting to take effect.
    Nearest,
    /// The same, and those that are not overloaded: when the nearer endpoint costs more than this multiple of one at the
    /// next distance, the farther one takes the request. A zone with many callers and few endpoints is then not overrun
    /// by them, while others idle; Envoy's zone-aware routing has to know every zone's callers for that. Costs are
    /// those of peak EWMA or least request; by other policies it is the same as `Nearest`.
    Balanced(TransferCost),
}

/// How a service's endpoints are chosen. The default is what nobody has to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// How one is chosen.
    pub policy: Policy,
    /// Whether nearer ones are preferred.
    pub locality: LocalityPreference,
    /// When the next level is used too.
    pub overprovisioning: Overprovisioning,
    /// When those that are not healthy are used too.
    pub panic: PanicThreshold,
    /// How new ones come to their share; by default at once.
    pub slow_start: Option<SlowStart>,
    /// Who is left out for a while.
    pub detection: Detection,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_prime_size_and_the_error_names_the_next_one() {
        assert_eq!(TableSize::new(65_537).map(TableSize::number), Ok(65_537));
        assert_eq!(TableSize::new(TableSize::default().number()), Ok(TableSize::default()));
        assert_eq!(TableSize::new(TableSize::MOST).map(TableSize::number), Ok(TableSize::MOST));
        let error = TableSize::new(65_536).expect_err("it is no prime");
        assert_eq!(
            error.to_string(),
            "the table's size is 65536, which is not a prime number: the next one is 65537"
        );
        assert_eq!(
            TableSize::new(1).expect_err("it is too small").to_string(),
            "the table's size is 1: it goes from 2 to 5000011"
        );
        assert!(TableSize::new(5_000_012).is_err());
    }

    #[test]
    fn a_ring_cannot_be_larger_than_its_largest_size() {
        let points = |points| Points::new(points).expect("in range");
        assert!(RingSize::new(points(10), points(10)).is_ok());
        let error = RingSize::new(points(10), points(9)).expect_err("they are crossed");
        assert_eq!(
            error.to_string(),
            "the ring's largest size, which is not below its least, is 9: it goes from 10 to 1048576"
        );
    }
}
