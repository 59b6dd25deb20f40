//! Places with stable numbers: a place keeps its number as long as its content lives, and a stale number is noticed.
//!
//! Enters: contents. Leaves: [`Slot`]s. Never here: what the contents mean.

/// The place of one endpoint in one balancer. Valid until the endpoint is removed; after that it leads nowhere, even when
/// the index is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// The position for vectors kept beside the balancer. Below the largest number of endpoints there ever were at once.
    pub fn index(self) -> usize {
        usize::try_from(self.index).unwrap_or(usize::MAX)
    }

    /// Tells this endpoint from earlier ones with the same index.
    pub fn generation(self) -> u32 {
        self.generation
    }
}

#[derive(Debug, Clone)]
pub(super) struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Place<T> {
    generation: u32,
    content: Option<T>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, content: T) -> Slot {
        if let Some(index) = self.free.pop()
            && let Some(place) = self.places.get_mut(usize::try_from(index).unwrap_or(usize::MAX))
        {
            place.content = Some(content);
            return Slot { index, generation: place.generation };
        }
        let index = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.places.push(Place { generation: 0, content: Some(content) });
        Slot { index, generation: 0 }
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        let place = self.places.get(slot.index())?;
        place.content.as_ref().filter(|_| place.generation == slot.generation)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let place = self.places.get_mut(slot.index())?;
        place.content.as_mut().filter(|_| place.generation == slot.generation)
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let place = self.places.get_mut(slot.index()).filter(|place| place.generation == slot.generation)?;
        let content = place.content.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot.index);
        Some(content)
    }

    /// How many places there are, empty ones included.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// The slot of the content in this place.
    pub(super) fn slot_at(&self, index: usize) -> Option<Slot> {
        let place = self.places.get(index).filter(|place| place.content.is_some())?;
        Some(Slot { index: u32::try_from(index).ok()?, generation: place.generation })
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        (0_u32..).zip(&mut self.places).filter_map(|(index, place)| {
            let slot = Slot { index, generation: place.generation };
            place.content.as_mut().map(|content| (slot, content))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_slot_leads_nowhere_even_when_its_index_is_used_again() {
        let mut slots = Slots::new();
        let (first, second) = (slots.insert("a"), slots.insert("b"));
        assert_eq!(slots.remove(first), Some("a"));
        assert_eq!(slots.remove(first), None);
        let third = slots.insert("c");
        assert_eq!(third.index(), first.index());
        assert_eq!((slots.get(first), slots.get(second), slots.get(third)), (None, Some(&"b"), Some(&"c")));
    }
}
