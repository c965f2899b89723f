//! What is under way in a session: requests to be written, and who waits for which answer.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use fastness_format::id::ChunkId;
use fastness_format::rpc::{Call, Failure, Form, Request, put_head};

use super::exchange::{Change, Refusal, Reply};
use super::failures::Death;
use super::prefetch::Prefetch;

/// Who waits for an answer.
pub(super) enum Waiting {
    Call(SyncSender<Reply>),
    Change,
    DeletePresent,
    Object(ChunkId),
    Demand,
    Nobody,
}

/// What may not leave before a demand was answered well.
pub(super) struct Held {
    /// The number of the demand; all higher ones are held.
    pub demand: i64,
    pub bytes: Vec<u8>,
}
/// A session as it stands.
pub(super) struct State {
    pub form: Form,
    pub last_msgid: i64,
    pub outgoing: Vec<u8>,
    pub held: Option<Held>,
    /// Why a demand failed: nothing is changed any more.
    pub barred: Option<Box<Failure>>,
    pub waiting: HashMap<i64, Waiting>,
    /// Changes without an answer.
    pub unanswered: usize,
    /// The first change that failed.
    pub failed: Option<Box<Failure>>,
    /// Something that was to be removed was not there, and might not have been.
    pub absent: bool,
    pub prefetch: Prefetch,
    pub closing: bool,
    pub dead: Option<Death>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            // The first request always has this form.
            form: Form::Positional,
            last_msgid: 0,
            outgoing: Vec::new(),
            held: None,
            barred: None,
            waiting: HashMap::new(),
            unanswered: 0,
            failed: None,
            absent: false,
            prefetch: Prefetch::default(),
            closing: false,
            dead: None,
        }
    }
}

impl State {
    /// The number of the next request.
    fn next_msgid(&mut self) -> i64 {
        self.last_msgid += 1;
        self.last_msgid
    }

    /// Where requests go now.
    fn outbox(&mut self) -> (Form, &mut Vec<u8>) {
        let bytes = match &mut self.held {
            Some(held) => &mut held.bytes,
            None => &mut self.outgoing,
        };
        (self.form, bytes)
    }

    /// Fails when the session is over, when a demand failed, and once after a change that failed.
    pub fn may_change(&mut self) -> Result<(), Refusal> {
        if let Some(death) = &self.dead {
            return Err(Refusal::Dead(death.clone()));
        }
        match self.failed.take().or_else(|| self.barred.clone()) {
            Some(failure) => Err(Refusal::Failed(failure)),
            None => Ok(()),
        }
    }

    /// Sends a call; its answer comes out of the channel, which closes when the session ends.
    pub fn send_call(&mut self, call: &Call<'_>) -> Result<Receiver<Reply>, Death> {
        if let Some(death) = &self.dead {
            return Err(death.clone());
        }
        let (sender, receiver) = sync_channel(1);
        let msgid = self.next_msgid();
        self.waiting.insert(msgid, Waiting::Call(sender));
        let (form, bytes) = self.outbox();
        Request::encode(form, msgid, call, bytes);
        Ok(receiver)
    }

    /// Sends a change; somebody else has asked whether there is room for it.
    pub fn send_change(&mut self, change: Change<'_>) {
        let (Change::Put(id, _) | Change::Delete(id) | Change::DeletePresent(id)) = change;
        if let Some(msgid) = self.prefetch.forget(id) {
            self.waiting.insert(msgid, Waiting::Nobody);
        }
        let msgid = self.next_msgid();
        let waiting = match change {
            Change::DeletePresent(_) => Waiting::DeletePresent,
            Change::Put(..) | Change::Delete(_) => Waiting::Change,
        };
        self.waiting.insert(msgid, waiting);
        self.unanswered += 1;
        let (form, bytes) = self.outbox();
        match change {
            Change::Put(id, data) => {
                put_head(form, msgid, id, data.len(), bytes);
                bytes.extend_from_slice(data);
            }
            Change::Delete(id) | Change::DeletePresent(id) => {
                Request::encode(form, msgid, &Call::Delete(*id), bytes);
            }
        }
    }

    /// Sends a request that all later ones depend on.
    pub fn send_demand(&mut self, call: &Call<'_>) {
        let demand = self.next_msgid();
        self.waiting.insert(demand, Waiting::Demand);
        Request::encode(self.form, demand, call, &mut self.outgoing);
        let bytes = Vec::new();
        self.held = Some(Held { demand, bytes });
    }

    /// Asks for announced objects as far as there is room for them.
    pub fn send_for_announced(&mut self) {
        while let Some(id) = self.prefetch.next(self.last_msgid + 1) {
            let msgid = self.next_msgid();
            self.waiting.insert(msgid, Waiting::Object(id));
            let (form, bytes) = self.outbox();
            Request::encode(form, msgid, &Call::Get(id), bytes);
        }
    }

    /// Hands an answer to the one who waits. Returns whether somebody may wait for the progress
    /// that it is.
    pub fn deliver(&mut self, waiting: Waiting, reply: Reply) -> bool {
        let may_be_absent = matches!(waiting, Waiting::DeletePresent);
        match waiting {
            Waiting::Nobody => {}
            // Nobody minds when the one who waited has gone.
            Waiting::Call(sender) => drop(sender.send(reply)),
            Waiting::Object(id) => {
                self.prefetch.arrived(&id, reply);
                self.send_for_announced();
            }
            Waiting::Demand => {
                self.release(reply);
                return true;
            }
            Waiting::Change | Waiting::DeletePresent => {
                self.unanswered -= 1;
                match reply {
                    Err(failure) if may_be_absent && failure.class == "ObjectNotFound" => {
                        self.absent = true;
                    }
                    Err(failure) => {
                        self.failed.get_or_insert(failure);
                    }
                    Ok(_) => {}
                }
                return self.unanswered == 0 || self.failed.is_some();
            }
        }
        false
    }

    /// Lets go what a demand held back, or drops it.
    fn release(&mut self, reply: Reply) {
        let Some(held) = self.held.take() else {
            return;
        };
        let Err(failure) = reply else {
            self.outgoing.extend_from_slice(&held.bytes);
            return;
        };
        let unsent = self.waiting.extract_if(|msgid, _| *msgid > held.demand);
        let unsent: Vec<Waiting> = unsent.map(|(_, waiting)| waiting).collect();
        for waiting in unsent {
            self.deliver(waiting, Err(failure.clone()));
        }
        self.failed.get_or_insert_with(|| failure.clone());
        self.barred = Some(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::Given;
    use super::*;

    const ID: ChunkId = ChunkId::new([7; 32]);
    const RESERVATION: Call<'_> = Call::CommitNonceReservation {
        next_unreserved: 2,
        start_nonce: Some(1),
    };

    /// A session that has sent a reservation, and something that needs it.
    fn demanding() -> (State, Receiver<Reply>, usize) {
        let mut state = State::default();
        state.send_demand(&RESERVATION);
        let sent = state.outgoing.len();
        state.send_change(Change::Put(&ID, b"sealed"));
        let later = state.send_call(&Call::Len).unwrap();
        assert_eq!(state.outgoing.len(), sent);
        (state, later, sent)
    }

    fn answer(state: &mut State, msgid: i64, reply: Reply) -> bool {
        let waiting = state.waiting.remove(&msgid).unwrap();
        state.deliver(waiting, reply)
    }

    #[test]
    fn what_needs_a_reservation_leaves_when_there_is_one_in_its_order() {
        let (mut state, later, sent) = demanding();
        assert!(answer(&mut state, 1, Ok(Given::Nil)));
        let (_, released) = state.outgoing.split_at(sent);
        let at = |text: &[u8]| released.windows(text.len()).position(|part| part == text);
        assert!(at(b"sealed").unwrap() < at(b"__len__").unwrap());
        assert!(state.held.is_none() && state.may_change().is_ok());
        assert!(answer(&mut state, 2, Ok(Given::Nil)));
        answer(&mut state, 3, Ok(Given::Int(1)));
        assert_eq!(later.recv().unwrap(), Ok(Given::Int(1)));
    }

    #[test]
    fn without_the_reservation_nothing_leaves_and_nothing_is_changed_any_more() {
        let (mut state, later, sent) = demanding();
        let failure = Box::new(Failure::default());
        assert!(answer(&mut state, 1, Err(failure.clone())));
        assert_eq!((state.outgoing.len(), state.unanswered), (sent, 0));
        assert!(state.waiting.is_empty());
        assert_eq!(later.recv().unwrap(), Err(failure));
        for _ in 0..2 {
            assert!(matches!(state.may_change(), Err(Refusal::Failed(_))));
        }
        // A transaction can still be rolled back.
        state.send_call(&Call::Rollback).unwrap();
        assert!(state.outgoing.len() > sent);
    }
}
