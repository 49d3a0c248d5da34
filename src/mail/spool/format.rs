//! The queue's format on disk, version 2, documented in `docs/queue-format.md`.
//!
//! A segment is a file of one header block and many frames. A frame contains one record about one
//! message: it was accepted, its progress changed, or it is done. All numbers are little-endian.
//!
//! Every frame contains the number of its segment and is checksummed together with the segment's
//! random salt. So an old frame in a recycled file, or bytes in a mail that look like a frame, are
//! never read as one, even when a damaged frame makes the reader search for the next good one.

/// The version of this format; a volume with a higher one is refused, and one with a lower one is
/// read. Version 1 stores no destinations.
pub const VERSION: u32 = 2;

/// Octets before the first frame.
pub const HEADER_BLOCK: u64 = HEADER_BLOCK_LEN as u64;
/// The same as a length in memory.
pub const HEADER_BLOCK_LEN: usize = 4096;

/// Offset of the second copy of the segment header, so that damage to one copy does no harm.
const SECOND_COPY: usize = 2048;

/// Octets of a frame before its head.
pub const FRAME_HEADER: usize = 32;

const SEGMENT_MAGIC: &[u8; 8] = b"POSTERNQ";
const SEGMENT_HEADER: usize = 28;
/// The first four octets of every frame.
pub const FRAME_MAGIC: [u8; 4] = [0xF5, b'P', b'R', 0xF5];

/// Octets of a head, at most: 1000 recipients with their reasons take far less.
const HEAD_MAX: u32 = 4 << 20;

/// The first block of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its number; segments are read in the order of their numbers.
    pub number: u32,
    /// Random, different at every use of the file.
    pub salt: u64,
}

/// Why a segment header could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderError {
    /// Neither copy is intact.
    Damaged,
    /// It was written by a later version.
    Newer(u32),
}

impl SegmentHeader {
    /// The header block.
    pub fn encode(self) -> Vec<u8> {
        let mut header = Vec::with_capacity(SEGMENT_HEADER);
        header.extend_from_slice(SEGMENT_MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&self.number.to_le_bytes());
        header.extend_from_slice(&self.salt.to_le_bytes());
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        let mut block = vec![0; HEADER_BLOCK_LEN];
        block[..SEGMENT_HEADER].copy_from_slice(&header);
        block[SECOND_COPY..SECOND_COPY + SEGMENT_HEADER].copy_from_slice(&header);
        block
    }

    /// Reads a header block, from the copy that is intact.
    pub fn decode(block: &[u8]) -> Result<Self, HeaderError> {
        let mut error = HeaderError::Damaged;
        for start in [0, SECOND_COPY] {
            let Some(copy) = block.get(start..start + SEGMENT_HEADER) else { continue };
            let (content, crc) = copy.split_at(SEGMENT_HEADER - 4);
            if crc32fast::hash(content).to_le_bytes() != crc || !content.starts_with(SEGMENT_MAGIC)
            {
                continue;
            }
            match u32_at(content, 8) {
                1..=VERSION => {
                    return Ok(Self { number: u32_at(content, 12), salt: u64_at(content, 16) });
                }
                newer => error = HeaderError::Newer(newer),
            }
        }
        Err(error)
    }
}

/// The kind of a record about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// It is in the queue: envelope, and content or the content's file.
    Accept = 1,
    /// The progress of all its targets and its flags; replaces earlier state records.
    State = 2,
    /// It has left the queue.
    Done = 3,
    /// None: quarantined damaged octets were here.
    Void = 4,
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the record says.
    pub kind: RecordKind,
    /// Octets of the head.
    pub head_len: u32,
    /// Octets of the content after the head.
    pub body_len: u32,
    /// CRC-32 of the head.
    pub head_crc: u32,
    /// CRC-32 of the content.
    pub body_crc: u32,
}

impl FrameHeader {
    /// The header of a frame with this head and a content whose checksum the caller has computed.
    pub fn new(kind: RecordKind, head: &[u8], body_len: u32, body_crc: u32) -> Self {
        let head_len = u32::try_from(head.len()).unwrap_or(u32::MAX);
        Self { kind, head_len, body_len, head_crc: crc32fast::hash(head), body_crc }
    }

    /// Octets of the whole frame.
    pub fn frame_len(&self) -> u64 {
        FRAME_HEADER as u64 + u64::from(self.head_len) + u64::from(self.body_len)
    }

    /// Appends the header as it is stored in the given segment.
    pub fn encode(&self, segment: SegmentHeader, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&segment.number.to_le_bytes());
        out.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        for number in [self.head_len, self.body_len, self.head_crc, self.body_crc] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = salted(segment, &out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// Reads a header; `None` when these octets are not a header of this segment.
    pub fn decode(segment: SegmentHeader, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEADER)?;
        let (content, crc) = bytes.split_at(FRAME_HEADER - 4);
        if !content.starts_with(&FRAME_MAGIC)
            || u32_at(content, 4) != segment.number
            || salted(segment, content).to_le_bytes() != crc
        {
            return None;
        }
        let kind = match content[8] {
            1 => RecordKind::Accept,
            2 => RecordKind::State,
            3 => RecordKind::Done,
            4 => RecordKind::Void,
            _ => return None,
        };
        let header = Self {
            kind,
            head_len: u32_at(content, 12),
            body_len: u32_at(content, 16),
            head_crc: u32_at(content, 20),
            body_crc: u32_at(content, 24),
        };
        (header.head_len <= HEAD_MAX).then_some(header)
    }
}

fn salted(segment: SegmentHeader, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.salt.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_unmakes_a_frame_header() {
        let segment = SegmentHeader { number: 3, salt: 0x1234_5678_9abc_def0 };
        let header = FrameHeader::new(RecordKind::Accept, b"head", 10, 11);
        let mut frame = Vec::new();
        header.encode(segment, &mut frame);
        assert_eq!(FrameHeader::decode(segment, &frame), Some(header));
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(segment, &damaged), None, "bit {bit}");
        }
        assert_eq!(
            FrameHeader::decode(SegmentHeader { number: 3, salt: 1 }, &frame),
            None,
            "another life of the same file"
        );
    }

    #[test]
    fn a_segment_header_survives_damage_to_one_copy() {
        let header = SegmentHeader { number: 8, salt: 99 };
        let block = header.encode();
        assert_eq!(SegmentHeader::decode(&block), Ok(header));
        let mut damaged = block.clone();
        damaged[13] ^= 1;
        assert_eq!(SegmentHeader::decode(&damaged), Ok(header));
        damaged[SECOND_COPY + 13] ^= 1;
        assert_eq!(SegmentHeader::decode(&damaged), Err(HeaderError::Damaged));
        let mut newer = block[..SEGMENT_HEADER - 4].to_vec();
        newer[8] = 3;
        newer.extend_from_slice(&crc32fast::hash(&newer).to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(HeaderError::Newer(3)));
    }
}
