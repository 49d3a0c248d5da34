//! The network block device protocol, as far as qemu uses it for a disk: reads, writes and flushes,
//! one after the other.
//!
//! Source: the protocol's own page,
//! <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>: fixed newstyle
//! negotiation, simple replies.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

const OPTION: u64 = 0x4948_4156_454f_5054; // "IHAVEOPT"
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
/// Fixed newstyle, and no padding.
const HANDSHAKE: u16 = 1 | 2;
/// There are flags, and flushes are supported. Nothing is written through by itself.
const EXPORT: u16 = 1 | 4;

/// What is served.
pub trait Device {
    /// Octets.
    fn size(&self) -> u64;
    fn read(&self, offset: u64, octets: &mut [u8]);
    fn write(&self, offset: u64, octets: &[u8]);
    /// All earlier writes must survive a power cut.
    fn flush(&self);
    /// Whether there is power; without it nothing is answered.
    fn is_on(&self) -> bool;
}

/// Serves one client to its end.
pub fn serve(mut stream: UnixStream, device: &impl Device) -> io::Result<()> {
    negotiate(&mut stream, device.size())?;
    loop {
        let magic = u32::from_be_bytes(take(&mut stream)?);
        let [_flags, kind] = [take(&mut stream)?, take(&mut stream)?].map(u16::from_be_bytes);
        let handle: [u8; 8] = take(&mut stream)?;
        let offset = u64::from_be_bytes(take(&mut stream)?);
        let length = u32::from_be_bytes(take(&mut stream)?) as usize;
        assert_eq!(magic, REQUEST, "the client has lost its way");
        let mut octets = vec![0; if kind < 2 { length } else { 0 }];
        match kind {
            0 => device.read(offset, &mut octets),
            1 => {
                stream.read_exact(&mut octets)?;
                device.write(offset, &octets);
                octets.clear();
            }
            2 => return Ok(()),
            3 => device.flush(),
            other => panic!("request {other} was not offered"),
        }
        if device.is_on() {
            let head = [&REPLY.to_be_bytes()[..], &0_u32.to_be_bytes(), &handle].concat();
            stream.write_all(&[head, octets].concat())?;
        }
    }
}

fn negotiate(stream: &mut UnixStream, size: u64) -> io::Result<()> {
    stream
        .write_all(&[b"NBDMAGIC", &OPTION.to_be_bytes()[..], &HANDSHAKE.to_be_bytes()].concat())?;
    let _flags: [u8; 4] = take(stream)?;
    loop {
        assert_eq!(u64::from_be_bytes(take(stream)?), OPTION, "the client has lost its way");
        let [option, length] = [take(stream)?, take(stream)?].map(u32::from_be_bytes);
        stream.read_exact(&mut vec![0; length as usize])?;
        let mut answer = |kind: u32, octets: &[u8]| {
            let length = u32::try_from(octets.len()).unwrap();
            let head = [option, kind, length].map(u32::to_be_bytes).concat();
            stream.write_all(&[&OPTION_REPLY.to_be_bytes(), &head[..], octets].concat())
        };
        match option {
            // NBD_OPT_GO: NBD_REP_INFO with NBD_INFO_EXPORT, then NBD_REP_ACK.
            7 => {
                answer(
                    3,
                    &[&0_u16.to_be_bytes(), &size.to_be_bytes()[..], &EXPORT.to_be_bytes()]
                        .concat(),
                )?;
                return answer(1, &[]);
            }
            // NBD_REP_ERR_UNSUP
            _ => answer(1 << 31 | 1, &[])?,
        }
    }
}

fn take<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    stream.read_exact(&mut octets)?;
    Ok(octets)
}
