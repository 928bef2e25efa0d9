//! Sends together the calls that arrive together, whatever they are.

use std::{future::Future, mem, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use prometheus::Histogram;

use super::{
    batch::{Batch, Call, Limits},
    batch_queue::BatchQueue,
};

/// What is done with the calls of a batch.
pub(super) trait Work: Sized + Send + Sync + 'static {
    type Call: Call + Send + 'static;
    /// What is left to do once the next batch is on its way.
    type Answers: Send;

    /// Gets the calls done.
    fn send(
        &self,
        calls: Vec<Self::Call>,
        batcher: &Batcher<Self>,
    ) -> impl Future<Output = Self::Answers> + Send;

    fn answer(&self, answers: Self::Answers);
}

/// Gets calls done, many at a time, in tasks of its own.
///
/// A batch in which the work panics is lost with its calls, and the next one goes out all the same.
pub(super) struct Batcher<W: Work>(Arc<Batches<W>>);

struct Batches<W: Work> {
    queue: BatchQueue<W::Call>,
    sizes: Histogram,
    work: W,
}

impl<W: Work> Clone for Batcher<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Work> Batcher<W> {
    pub(super) fn new(limits: Limits, sizes: Histogram, work: W) -> Self {
        Self(Arc::new(Batches {
            queue: BatchQueue::new(limits),
            sizes,
            work,
        }))
    }

    /// Has more calls done, at once or with the next batch.
    pub(super) fn submit(&self, calls: impl IntoIterator<Item = W::Call>) {
        if let Some(batch) = self.0.queue.add(calls) {
            self.start(batch);
        }
    }

    /// Takes back those calls that still wait and are wanted.
    pub(super) fn take_back(&self, wanted: impl Fn(&W::Call) -> bool) -> Vec<W::Call> {
        self.0.queue.take_back(wanted)
    }

    /// Sends this batch, and then each that waits when the one before has ended.
    fn start(&self, batch: Batch<W::Call>) {
        let batcher = self.clone();
        // On the heap, since the runtime moves a task several times, and this one is large.
        tokio::spawn(Box::pin(async move {
            let Batches { queue, sizes, work } = &*batcher.0;
            let mut next = Some(batch);
            while let Some(mut batch) = next {
                if batch.unwatched {
                    batcher.watch();
                }
                let calls = mem::take(&mut batch.calls);
                sizes.observe(calls.len() as f64);
                let sent = AssertUnwindSafe(work.send(calls, &batcher)).catch_unwind();
                let answers = sent.await;
                // The next batch first: the calls of this one have their answers.
                next = queue.ended(&batch);
                if let Ok(answers) = answers {
                    work.answer(answers);
                }
            }
        }));
    }

    /// Starts what waits beside batches that are late.
    fn watch(&self) {
        let batcher = self.clone();
        tokio::spawn(async move {
            let start = |batch| batcher.start(batch);
            batcher.0.queue.watch(start).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use prometheus::HistogramOpts;
    use tokio::sync::oneshot;

    use super::*;

    /// A call with its number, of which the work cannot bear 13.
    struct Number(u32, oneshot::Sender<usize>);

    impl Call for Number {
        fn conflict_key(&self) -> Option<&str> {
            None
        }

        fn bytes(&self) -> usize {
            0
        }
    }

    /// Waits for the word to send its first batch, and answers each call with the size of its batch.
    struct Sizes(Mutex<Option<oneshot::Receiver<()>>>);

    impl Work for Sizes {
        type Call = Number;
        type Answers = Vec<Number>;

        async fn send(&self, calls: Vec<Number>, _: &Batcher<Self>) -> Vec<Number> {
            let word = self.0.lock().unwrap().take();
            if let Some(word) = word {
                word.await.unwrap();
            }
            assert!(calls.iter().all(|call| call.0 != 13), "on purpose");
            calls
        }

        fn answer(&self, calls: Vec<Number>) {
            let size = calls.len();
            for Number(_, answer) in calls {
                answer.send(size).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn what_arrives_together_goes_together_and_a_panic_is_the_end_of_its_own_batch_only() {
        let limits = Limits {
            calls: 3,
            bytes: 100,
            batches: 1,
            at_once: 1,
            beside: None,
        };
        let sizes = Histogram::with_opts(HistogramOpts::new("sizes", "of batches"));
        let (go, word) = oneshot::channel();
        let work = Sizes(Mutex::new(Some(word)));
        let batcher = Batcher::new(limits, sizes.unwrap(), work);
        let submit = |number| {
            let (answer, told) = oneshot::channel();
            batcher.submit([Number(number, answer)]);
            told
        };
        let first = submit(1);
        let lost = [2, 13, 3].map(submit);
        let last = [4, 5].map(submit);
        go.send(()).unwrap();
        assert_eq!(first.await, Ok(1));
        for told in lost {
            assert!(told.await.is_err(), "lost with its batch");
        }
        for told in last {
            assert_eq!(told.await, Ok(2));
        }
    }
}
