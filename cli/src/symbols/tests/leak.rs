//! Names of both of Rust's manglings, closures and inlined calls.

struct Inbox {
    packets: Vec<Vec<u8>>,
}

trait Receive {
    fn receive(&mut self, bytes: usize);
}

impl Receive for Inbox {
    #[inline(never)]
    fn receive(&mut self, bytes: usize) {
        let fill = |wanted: usize| vec![7_u8; wanted];
        hold(self, fill(bytes));
    }
}

#[inline(always)]
fn hold(inbox: &mut Inbox, packet: Vec<u8>) {
    inbox.packets.push(packet);
}

fn main() {
    let mut inbox = Inbox { packets: Vec::new() };
    for bytes in 0..std::env::args().count() {
        inbox.receive(bytes * 4096);
    }
    std::process::exit(inbox.packets.len().wrapping_sub(1) as i32);
}
