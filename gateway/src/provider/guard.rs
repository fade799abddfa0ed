//! What stands before a provider that is reached over a network: a deadline for each call, few retries, and a circuit
//! breaker, so that a server that is down costs its users one wait and not one each.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{ProviderError, ProviderKind};

/// How long a provider is waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Longest time of one call, retries included.
    deadline: Duration,
    /// Pauses before the second and the third attempt.
    pauses: [Duration; 2],
    /// How long a provider that failed is not asked again.
    rest: Duration,
}

const PATIENCE: Patience = Patience {
    deadline: Duration::from_secs(4),
    pauses: [Duration::from_millis(50), Duration::from_millis(250)],
    rest: Duration::from_secs(1),
};

/// Guards the calls to one provider.
#[derive(Debug)]
pub struct Guard {
    provider: ProviderKind,
    patience: Patience,
    failed: Mutex<Option<(Instant, String)>>,
}

impl Guard {
    /// A guard that lets calls through.
    #[must_use]
    pub const fn new(provider: ProviderKind) -> Self {
        Self { provider, patience: PATIENCE, failed: Mutex::new(None) }
    }

    fn failed(&self) -> MutexGuard<'_, Option<(Instant, String)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Self::call`], of what must not be asked twice.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn once<T, F>(&self, operation: &'static str, attempt: impl FnOnce() -> F) -> Result<T, ProviderError>
    where
        F: Future<Output = Result<T, ProviderError>>,
    {
        self.rested()?;
        self.timed(operation, attempt()).await
    }

    /// Makes a call. What the provider refuses is final; what it does not answer is asked again, up to two times.
    ///
    /// # Errors
    /// Those of the call; `Unavailable` at once while the provider rests.
    pub async fn call<T, F>(&self, operation: &'static str, attempt: impl Fn() -> F) -> Result<T, ProviderError>
    where
        F: Future<Output = Result<T, ProviderError>>,
    {
        self.rested()?;
        self.timed(operation, self.attempts(attempt)).await
    }

    fn rested(&self) -> Result<(), ProviderError> {
        match &*self.failed() {
            Some((since, why)) if since.elapsed() < self.patience.rest => {
                let why = format!("{why}; it is asked again in a moment");
                Err(ProviderError::Unavailable { provider: self.provider, why, asked: false })
            }
            _ => Ok(()),
        }
    }

    async fn timed<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let begun = Instant::now();
        let outcome = match tokio::time::timeout(self.patience.deadline, call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.provider.unavailable(format!("no answer in {:?}", self.patience.deadline))),
        };
        self.count(operation, begun, &outcome);
        *self.failed() = match &outcome {
            Err(ProviderError::Unavailable { why, .. }) => Some((Instant::now(), why.clone())),
            _ => None,
        };
        outcome
    }

    async fn attempts<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, ProviderError>
    where
        F: Future<Output = Result<T, ProviderError>>,
    {
        for pause in self.patience.pauses {
            match attempt().await {
                Err(ProviderError::Unavailable { why, .. }) => tracing::debug!(why, "a key provider is asked again"),
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
        }
        attempt().await
    }

    fn count<T>(&self, operation: &'static str, begun: Instant, outcome: &Result<T, ProviderError>) {
        let (provider, result) = (
            self.provider.name(),
            match outcome {
                Ok(_) => "ok",
                Err(ProviderError::Unavailable { .. }) => "unavailable",
                Err(_) => "refused",
            },
        );
        if let Err(error) = outcome {
            tracing::warn!(provider, operation, %error, "a key provider did not do what it was asked");
        }
        metrics::counter!("gotgan_key_provider_calls_total", "provider" => provider, "operation" => operation, "outcome" => result)
            .increment(1);
        metrics::histogram!("gotgan_key_provider_seconds", "provider" => provider)
            .record(begun.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn guard(rest: Duration) -> Guard {
        let patience = Patience { deadline: Duration::from_millis(200), pauses: [Duration::from_millis(1); 2], rest };
        Guard { patience, ..Guard::new(ProviderKind::Openbao) }
    }

    fn down() -> ProviderError {
        ProviderKind::Openbao.unavailable("down")
    }

    #[tokio::test]
    async fn what_does_not_answer_is_asked_three_times_and_then_rests() {
        let (guard, asked) = (guard(Duration::from_secs(600)), AtomicUsize::new(0));
        let call = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(down())
        };
        assert!(guard.call("unwrap", call).await.is_err());
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        for _ in 0..100 {
            assert!(matches!(guard.call("unwrap", call).await, Err(ProviderError::Unavailable { .. })));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3, "nobody waits for it meanwhile");
        let guard = Guard { patience: Patience { rest: Duration::ZERO, ..guard.patience }, ..guard };
        assert!(guard.call("unwrap", || async { Ok(()) }).await.is_ok(), "it is asked again");
        assert!(guard.failed().is_none());
    }

    #[tokio::test]
    async fn a_refusal_is_final_and_silence_has_an_end() {
        let (guard, asked) = (guard(Duration::ZERO), AtomicUsize::new(0));
        let refused = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            Err::<(), _>(ProviderKind::Openbao.refused("no"))
        };
        assert!(matches!(guard.call("unwrap", refused).await, Err(ProviderError::Refused { .. })));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let silence = guard.call("unwrap", std::future::pending::<Result<(), ProviderError>>).await;
        assert!(matches!(silence, Err(ProviderError::Unavailable { .. })));
    }
}
