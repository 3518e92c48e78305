//! Operations: what an operator can have the server do, typed, and rendered elsewhere (the command
//! line and the local socket now; ad-hoc commands and HTTP later).
//!
//! An operation is declared as a constant, so that whoever registers it and whoever calls it agree
//! on its name, its arguments and its output.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who may have an operation run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whoever runs the server.
    Operator,
}

/// The declaration of an operation that takes `A` and gives `O`.
#[derive(Debug)]
pub struct Operation<A, O> {
    name: &'static str,
    role: Role,
    types: PhantomData<fn(A) -> O>,
}

/// Arguments or output of an operation that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Nothing {}

/// Why an operation was not done; the text is for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "text", rename_all = "lowercase")]
pub enum OperationError {
    /// It cannot be done as it was asked for.
    Usage(String),
    /// What it is about does not exist.
    Unknown(String),
    /// It does not go together with what exists.
    Conflict(String),
    /// It was tried, or would have been, and did not work.
    Failed(String),
}

/// Two operations with one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameTaken(pub &'static str);

/// Every operation of this server, by name.
#[derive(Default)]
pub struct Operations(BTreeMap<&'static str, Entry>);

struct Entry {
    role: Role,
    run: Box<dyn Fn(Value) -> Running + Send + Sync>,
}

/// An operation that is being done, its types erased.
type Running = Pin<Box<dyn Future<Output = Result<Value, OperationError>> + Send>>;

impl<A, O> Operation<A, O> {
    /// Declares an operation; the name has the form `account.add`.
    #[must_use]
    pub const fn new(name: &'static str, role: Role) -> Self {
        Self { name, role, types: PhantomData }
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }
}

impl Operations {
    /// Has `handler` do `operation`.
    ///
    /// # Errors
    /// An operation of this name is registered already.
    pub fn register<A, O, H, F>(&mut self, operation: &Operation<A, O>, handler: H) -> Result<(), NameTaken>
    where
        A: DeserializeOwned,
        O: Serialize + 'static,
        H: Fn(A) -> F + Send + Sync + 'static,
        F: Future<Output = Result<O, OperationError>> + Send + 'static,
    {
        if self.0.contains_key(operation.name) {
            return Err(NameTaken(operation.name));
        }
        let name = operation.name;
        let run = move |arguments| -> Running {
            let done = serde_json::from_value(arguments).map(&handler);
            Box::pin(async move {
                let done = done.map_err(|error| OperationError::Usage(format!("arguments of {name}: {error}")))?;
                let output = done.await?;
                serde_json::to_value(output)
                    .map_err(|error| OperationError::Failed(format!("output of {name}: {error}")))
            })
        };
        self.0.insert(name, Entry { role: operation.role, run: Box::new(run) });
        Ok(())
    }

    /// Does the operation called `name` on behalf of somebody in `role`.
    ///
    /// # Errors
    /// There is no such operation for this role, its arguments are of another form, or it failed.
    pub async fn run(&self, name: &str, role: Role, arguments: Value) -> Result<Value, OperationError> {
        match self.0.get(name) {
            Some(entry) if entry.role == role => (entry.run)(arguments).await,
            _ => Err(OperationError::Usage(format!("this server has no operation {name:?}"))),
        }
    }

    /// Does `operation` for a caller that knows its types and has its role.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn call<A, O>(&self, operation: &Operation<A, O>, arguments: A) -> Result<O, OperationError>
    where
        A: Serialize,
        O: DeserializeOwned,
    {
        let form = |error: serde_json::Error| OperationError::Failed(format!("{}: {error}", operation.name));
        let arguments = serde_json::to_value(arguments).map_err(form)?;
        let output = self.run(operation.name, operation.role, arguments).await?;
        serde_json::from_value(output).map_err(form)
    }

    /// The names of all operations, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(text) | Self::Unknown(text) | Self::Conflict(text) | Self::Failed(text)) = self;
        f.write_str(text)
    }
}

impl fmt::Display for NameTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "two operations are called {:?}", self.0)
    }
}

impl std::error::Error for OperationError {}
impl std::error::Error for NameTaken {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{NameTaken, Nothing, Operation, OperationError, Operations, Role};

    const DOUBLE: Operation<i64, i64> = Operation::new("test.double", Role::Operator);
    const FAIL: Operation<Nothing, Nothing> = Operation::new("test.fail", Role::Operator);

    fn operations() -> Operations {
        let mut operations = Operations::default();
        operations.register(&DOUBLE, |number| async move { Ok(number * 2) }).unwrap();
        operations.register(&FAIL, |_| async { Err(OperationError::Failed("no".to_owned())) }).unwrap();
        operations
    }

    #[tokio::test]
    async fn typed_and_erased_calls_meet() {
        let operations = operations();
        assert_eq!(operations.call(&DOUBLE, 21).await, Ok(42));
        assert_eq!(operations.run("test.double", Role::Operator, json!(4)).await, Ok(json!(8)));
        assert_eq!(operations.call(&FAIL, Nothing {}).await, Err(OperationError::Failed("no".to_owned())));
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_usage() {
        let operations = operations();
        for (name, arguments) in [("test.double", json!("four")), ("test.double", json!({})), ("nonsense", json!(1))] {
            let error = operations.run(name, Role::Operator, arguments).await.unwrap_err();
            assert!(matches!(error, OperationError::Usage(_)), "{error}");
        }
    }

    #[test]
    fn a_name_is_given_once() {
        let again = operations().register(&DOUBLE, |number| async move { Ok(number) });
        assert_eq!(again, Err(NameTaken("test.double")));
    }
}
