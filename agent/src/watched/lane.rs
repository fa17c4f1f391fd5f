//! A lane in the host: serves one probe, on the thread that asks its runtime, to the watcher's [`RemoteProbe`].
//!
//! A panic of the probe ends here and is an answer. The thread has no descriptor, no timer, and waits in a futex only.
//!
//! Never here: a decision about when to read, or a wait for the watcher.
//!
//! [`RemoteProbe`]: super::remote::RemoteProbe

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use leakline_core::{Clock as _, Probe, ProbeError};
use leakline_probing::shared::{Mailbox, Reply};
use leakline_probing::{joined, regions};

use super::codec::{
    Additions, Answer, DetailsSaid, Failure, Job, ProbeJob, Question, Regions, Said, Sender, decode, encode,
};
use crate::clock::SystemClock;
use crate::custom::{self, CustomProbe};

/// A future that waits for somebody is looked at again after this, whether it was woken or not.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What serves a probe, on one thread after another.
pub(crate) struct Worker {
    probe: Box<dyn Probe>,
    dictionary: Sender,
    look: fn(),
}

impl Worker {
    /// Of `probe`, with a dictionary of so many bytes on each side. `look` starts the lanes of runtimes that came later.
    pub(crate) fn new(probe: Box<dyn Probe>, dictionary_bytes: u64, look: fn()) -> Self {
        Self { probe, dictionary: Sender::within(dictionary_bytes), look }
    }

    /// Serves the probe on this thread until the mailbox is stopped or paused. False: another thread serves it.
    pub(crate) fn run(&mut self, mailbox: &Mailbox) -> bool {
        mailbox.serve(|question| {
            // What is left in between two states by a panic is the dictionary at most, and the watcher notices.
            catch_unwind(AssertUnwindSafe(|| self.answer(question))).unwrap_or_default()
        })
    }

    fn answer(&mut self, question: &[u8]) -> Reply {
        // What is no question was written by nobody of ours: an empty answer, which is none either.
        let Ok(Question { known, regions, job }) = decode(question) else { return Reply::default() };
        let more_follows = matches!(job, Job::Probe { job: ProbeJob::Prepare, .. });
        let mut additions = Additions::default();
        let result = match job {
            Job::Probe { custom: true, job } => work(&mut CustomProbe, job).map(|done| match done {
                Done::Said(said) => said,
                Done::Details(details) => Said::Details(DetailsSaid::new(details, &mut Sender::within(0))),
            }),
            Job::Probe { custom: false, job } => work(&mut *self.probe, job).map(|done| match done {
                Done::Said(said) => said,
                Done::Details(details) => {
                    self.dictionary.begin(known);
                    let said = DetailsSaid::new(details, &mut self.dictionary);
                    additions = self.dictionary.end();
                    Said::Details(said)
                }
            }),
            Job::Tell { runtime, numbers } => Ok(Said::Told(tell(runtime, &numbers))),
            Job::Look => {
                (self.look)();
                Ok(Said::Done)
            }
            Job::Malloc => {
                leakline_native::answer_now();
                Ok(Said::Done)
            }
        };
        let change = regions::changes();
        let answer = Answer {
            cpu: SystemClock.thread_cpu().unwrap_or_default(),
            held_bytes: leakline_probing::held_bytes().unwrap_or_default(),
            regions: (change != regions).then(|| Regions::new(change, &regions::by_source())),
            has_readers: custom::is_any_open(),
            additions,
            result: result.map_err(Failure::from),
        };
        Reply { bytes: encode(&answer).unwrap_or_default(), more_follows }
    }
}

/// What came of a probe's job: details are not in words yet.
enum Done {
    Said(Said),
    Details(leakline_core::Details),
}

fn work(probe: &mut dyn Probe, job: ProbeJob) -> Result<Done, ProbeError> {
    let said = match job {
        ProbeJob::Attach => caught(probe.attach())??.into(),
        ProbeJob::Prepare => {
            caught(probe.prepare())?;
            Said::Done
        }
        ProbeJob::Gauges(tick) => caught(probe.gauges(&tick))??.into(),
        ProbeJob::Details(tick) => return caught(probe.details(&tick))?.map(Done::Details),
        ProbeJob::Request(request) => caught(probe.request(&request))??.into(),
        ProbeJob::Detach => {
            caught(probe.detach())?;
            Said::Done
        }
    };
    Ok(Done::Said(said))
}

/// The names of frames of the runtime that joined as the `runtime`-th; `None`: none has.
fn tell(runtime: u32, numbers: &[u64]) -> Option<Vec<Option<super::codec::ToldFrame>>> {
    let runtime = joined::all().nth(runtime as usize)?;
    let told = catch_unwind(AssertUnwindSafe(|| (runtime.tell)(numbers))).ok()?;
    Some(told.into_iter().map(|frame| frame.map(Into::into)).collect())
}

/// Runs `future` to its end on this thread.
fn caught<F: Future>(future: F) -> Result<F::Output, ProbeError> {
    catch_unwind(AssertUnwindSafe(|| block_on(future)))
        .map_err(|payload| ProbeError::Panicked { message: panic_message(payload) })
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park_timeout(LOOK_AGAIN),
        }
    }
}

fn panic_message(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload.downcast_ref::<&str>().map_or("no message", |message| message).to_owned(),
    }
}
