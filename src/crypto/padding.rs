//! Padding: how long an encoded `Inner` is made, so that its length tells little.
//!
//! Deliberately a sender's rule: readers take any padding and look at none.

/// The next size that is sent: steps of 64 bytes up to 1 KiB, beyond that 1/16 of the largest
/// power of two that is not above the size.
fn step_up(size: usize) -> usize {
    let step = if size <= 1024 { 64 } else { (1 << size.ilog2()) / 16 };
    size.next_multiple_of(step)
}

/// Bytes for the field `padding` (number 9) of an `Inner` that takes `bare` bytes without it.
pub(super) fn for_bare(bare: usize) -> usize {
    let mut size = step_up(bare);
    loop {
        // The field costs its tag and its length beside its bytes: some sizes cannot be met.
        match size - bare {
            0 => return 0,
            room @ 3..=129 => return room - 2,
            room @ 131..=16_386 => return room - 3,
            _cannot_be_met => size = step_up(size + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::client::Inner;
    use bytes::Bytes;
    use prost::Message;

    #[test]
    fn sizes_go_in_steps_of_64_bytes_then_of_a_sixteenth() {
        for (size, padded) in
            [(1, 64), (64, 64), (65, 128), (1000, 1024), (1024, 1024), (1025, 1088), (2048, 2048)]
        {
            assert_eq!(step_up(size), padded, "{size}");
        }
        assert_eq!(step_up(2049), 2048 + 128);
        assert_eq!(step_up(33_000), 32_768 + 2_048);
    }

    #[test]
    fn every_message_length_is_padded_to_one_of_the_sizes() {
        for length in (0..3_000).chain((3_000..40_000).step_by(97)) {
            let mut inner = Inner { body: vec![b'x'; length].into(), ..Inner::default() };
            let bare = inner.encoded_len();
            inner.padding = Bytes::from(vec![0; for_bare(bare)]);
            let size = inner.encoded_len();
            assert_eq!(step_up(size), size, "{length}");
            assert!(size <= bare + bare / 8 + 128, "{bare} became {size}");
        }
    }
}
