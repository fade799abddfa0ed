//! Filling: seats go to the stores with the strongest claims.

use super::draft::{Bid, Draft, Need, Seat};

/// Fills an empty draft: each slot gets the strongest claims that may be together.
pub(super) fn fill(draft: &mut Draft) {
    // At most one store of each domain of level L can be in the list: the one with the strongest claim.
    let mut best: Vec<Option<Bid>> = vec![None; draft.spread.innermost_count()];
    let domains: Vec<_> = draft.serving.iter().map(|(store, _)| draft.spread.innermost(*store)).collect();
    for slot in 0..draft.slots() {
        let Some(lot) = draft.lot(slot) else { continue };
        best.fill(None);
        for ((store, drawer), domain) in draft.serving.iter().zip(&domains) {
            let Some(best) = domain.and_then(|domain| best.get_mut(usize::from(domain))) else { continue };
            let bid = (drawer.claim(lot), *store);
            if best.is_none_or(|best| bid < best) {
                *best = Some(bid);
            }
        }
        for place in 0..draft.copies() {
            let seat = Seat { slot, place };
            let mut strongest: Option<Bid> = None;
            for bid in best.iter().flatten() {
                if strongest.is_none_or(|strongest| *bid < strongest) && draft.fits(seat, bid.1) {
                    strongest = Some(*bid);
                }
            }
            if let Some((_, store)) = strongest {
                draft.give(seat, store);
            }
        }
    }
}

/// Fills the empty seats of a draft: each goes to a store that needs it.
pub(super) fn fill_gaps(draft: &mut Draft) {
    for seat in draft.seats() {
        if draft.holder(seat).is_none()
            && let Some(store) = draft.neediest(seat, Need::Full)
        {
            draft.give(seat, store);
        }
    }
}
