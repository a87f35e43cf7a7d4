//! A codec of one's own for FlatBuffers: a received table is checked once and read in place.
//!
//! `cargo run --example flatbuffers`

use std::error::Error;
use std::time::Duration;

use flatbuffers::{
    FlatBufferBuilder, ForwardsUOffset, InvalidFlatbuffer, VOffsetT, Verifiable, Verifier, VerifierOptions,
};
use qwormhole::{Bytes, BytesMut, Client, Codec, CodecError, Server};

/// A received table of `table Order { id: ulong; item: string (required); }`. It keeps the message and copies
/// nothing of it. flatc would write a reader with unchecked access; this one checks again, which costs little.
#[derive(Debug)]
struct Order {
    message: Bytes,
    table: usize,
}

impl Order {
    fn id(&self) -> u64 {
        // An absent field has the schema's default.
        self.field(ID).and_then(|at| array(&self.message, at)).map_or(0, u64::from_le_bytes)
    }

    fn item(&self) -> &str {
        self.field(ITEM).and_then(|at| self.text(at)).unwrap_or_default()
    }

    /// Where the field lies, by the table's vtable.
    fn field(&self, slot: VOffsetT) -> Option<usize> {
        let back = i32::from_le_bytes(array(&self.message, self.table)?);
        let vtable = usize::try_from(i64::try_from(self.table).ok()? - i64::from(back)).ok()?;
        let vtable_len = u16::from_le_bytes(array(&self.message, vtable)?);
        let offset = (slot < vtable_len).then(|| array(&self.message, vtable + usize::from(slot)))??;
        match u16::from_le_bytes(offset) {
            0 => None,
            offset => Some(self.table + usize::from(offset)),
        }
    }

    fn text(&self, at: usize) -> Option<&str> {
        let start = at + usize::try_from(u32::from_le_bytes(array(&self.message, at)?)).ok()?;
        let len = usize::try_from(u32::from_le_bytes(array(&self.message, start)?)).ok()?;
        std::str::from_utf8(self.message.get(start + 4..start + 4 + len)?).ok()
    }
}

/// The bytes of a scalar.
fn array<const N: usize>(message: &[u8], at: usize) -> Option<[u8; N]> {
    message.get(at..at.checked_add(N)?)?.try_into().ok()
}

impl Verifiable for Order {
    fn run_verifier(verifier: &mut Verifier<'_, '_>, at: usize) -> Result<(), InvalidFlatbuffer> {
        verifier
            .visit_table(at)?
            .visit_field::<u64>("id", ID, false)?
            .visit_field::<ForwardsUOffset<&str>>("item", ITEM, true)?
            .finish();
        Ok(())
    }
}

struct Orders;

impl Codec for Orders {
    type Item = Order;
    type Outgoing = (u64, &'static str);

    fn encode(&self, (id, item): &Self::Outgoing, out: &mut BytesMut) -> Result<(), CodecError> {
        let mut builder = FlatBufferBuilder::new();
        let item = builder.create_string(item);
        let table = builder.start_table();
        builder.push_slot::<u64>(ID, *id, 0);
        builder.push_slot_always(ITEM, item);
        let table = builder.end_table(table);
        builder.finish_minimal(table);
        out.extend_from_slice(builder.finished_data());
        Ok(())
    }

    fn decode(&self, message: Bytes) -> Result<Order, CodecError> {
        let options = VerifierOptions::default();
        let mut verifier = Verifier::new(&options, &message);
        <ForwardsUOffset<Order>>::run_verifier(&mut verifier, 0).map_err(CodecError::custom)?;
        let root = array(&message, 0).map(u32::from_le_bytes).and_then(|root| usize::try_from(root).ok());
        let table = root.ok_or_else(|| CodecError::custom("no root table"))?;
        Ok(Order { message, table })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    pollster::block_on(async {
        let mut listener = Server::builder().bind("tcp://127.0.0.1:0")?.listen()?;
        let client = Client::builder().connect(&listener.local_addrs()[0]).await?;
        let server = listener.accept().await.ok_or("the listener ended")?;
        let (mut shop, mut guest) = (server.with_codec(Orders), client.with_codec(Orders));

        for order in [(7, "soup"), (0, "é")] {
            guest.send(&order).await?;
            let received = shop.recv().await.ok_or("the guest left")??;
            println!("order {}: {} ({} bytes)", received.id(), received.item(), received.message.len());
            assert_eq!((received.id(), received.item()), order);
        }

        guest.into_inner().send(&[0xff; 32]).await?;
        let refused = shop.recv().await.ok_or("the guest left")?;
        println!("and what is no order: {}", refused.err().ok_or("it was read")?);
        listener.shutdown(Duration::from_secs(5)).await;
        Ok(())
    })
}

const ID: VOffsetT = 4;
const ITEM: VOffsetT = 6;
