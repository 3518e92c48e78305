//! The typed shapes in which an owner keeps values. A user declares one as a constant:
//! `const ROSTER: Map<Item> = Map::new("roster")`. The name is what is stored, so it must never change.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Storage, Writes};
use crate::jid::BareJid;

/// One value per owner.
pub struct Cell<T> {
    name: &'static str,
    value: PhantomData<fn() -> T>,
}

/// One value per owner and key.
pub struct Map<V> {
    name: &'static str,
    value: PhantomData<fn() -> V>,
}

impl<T: Serialize + DeserializeOwned> Cell<T> {
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// [`Error::Value`] if `value` cannot be written as JSON; `writes` is unchanged then.
    pub fn put(&self, writes: &mut Writes, owner: &BareJid, value: &T) -> Result<(), Error> {
        writes.put_cell(owner, self.name, encode(self.name, value)?);
        Ok(())
    }

    /// Forgets the value.
    pub fn delete(&self, writes: &mut Writes, owner: &BareJid) {
        writes.delete_cell(owner, self.name);
    }

    /// The durable value, if there is one.
    ///
    /// # Errors
    /// [`Error::Value`] for a value of another type, or what the database says.
    pub async fn get(&self, storage: &Storage, owner: &BareJid) -> Result<Option<T>, Error>
    where
        T: Send + 'static,
    {
        let (name, owner) = (self.name, owner.clone());
        storage.read(move |view| view.cell(&Self::new(name), &owner)).await
    }
}

impl<V: Serialize + DeserializeOwned> Map<V> {
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, value: PhantomData }
    }

    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Replaces the value of `key`.
    ///
    /// # Errors
    /// [`Error::Value`] if `value` cannot be written as JSON; `writes` is unchanged then.
    pub fn put(&self, writes: &mut Writes, owner: &BareJid, key: &str, value: &V) -> Result<(), Error> {
        writes.put_item(owner, self.name, key, encode(self.name, value)?);
        Ok(())
    }

    /// Forgets the value of `key`.
    pub fn delete(&self, writes: &mut Writes, owner: &BareJid, key: &str) {
        writes.delete_item(owner, self.name, key);
    }

    /// Forgets the values of all keys.
    pub fn clear(&self, writes: &mut Writes, owner: &BareJid) {
        writes.clear_map(owner, self.name);
    }

    /// The durable value of `key`, if there is one.
    ///
    /// # Errors
    /// [`Error::Value`] for a value of another type, or what the database says.
    pub async fn get(&self, storage: &Storage, owner: &BareJid, key: &str) -> Result<Option<V>, Error>
    where
        V: Send + 'static,
    {
        let (name, owner, key) = (self.name, owner.clone(), key.to_owned());
        storage.read(move |view| view.item(&Self::new(name), &owner, &key)).await
    }

    /// All durable values with their keys, in the order of the keys' octets.
    ///
    /// # Errors
    /// [`Error::Value`] for a value of another type, or what the database says.
    pub async fn all(&self, storage: &Storage, owner: &BareJid) -> Result<Vec<(String, V)>, Error>
    where
        V: Send + 'static,
    {
        let (name, owner) = (self.name, owner.clone());
        storage.read(move |view| view.items(&Self::new(name), &owner)).await
    }
}

fn encode(name: &str, value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Value { name: name.to_owned(), reason: error.to_string() })
}

pub(super) fn decode<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Value { name: name.to_owned(), reason: error.to_string() })
}
