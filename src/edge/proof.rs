//! What a sign-up, login or resume must bring along, read from its frame.

use crate::limits;
use crate::types::{DeviceId, UserName};
use crate::wire::client::{ClientFrame, client_frame::Body};

/// Characters of an auth key: base64 of 32 bytes.
pub(super) const AUTH_KEY_CHARS: usize = 44;

/// A login, sign-up or resume whose fields make sense.
pub(super) struct Proof {
    pub(super) user: UserName,
    pub(super) device: DeviceId,
    pub(super) needs: Needs,
}

/// What a proof has to bring besides itself.
pub(super) enum Needs {
    Nothing,
    SignUpTicket(bytes::Bytes),
    LoginTicket(bytes::Bytes),
}

/// Reads a sign-up, login or resume; the ticket is taken out, for it is of use only here.
pub(super) fn read_proof(frame: &mut ClientFrame) -> Result<Proof, &'static str> {
    let (user, device, needs) = match &mut frame.body {
        Some(Body::SignUp(sign_up)) => {
            if sign_up.auth_key.len() != AUTH_KEY_CHARS {
                return Err("an auth key has 44 characters");
            }
            if sign_up.bundle.is_empty() || sign_up.bundle.len() > limits::BUNDLE_BYTES_MAX {
                return Err("the bundle is missing or too long");
            }
            let ticket = std::mem::take(&mut sign_up.ticket);
            (&sign_up.user, sign_up.device, Needs::SignUpTicket(ticket))
        }
        Some(Body::Login(login)) => {
            if login.auth_key.len() != AUTH_KEY_CHARS {
                return Err("an auth key has 44 characters");
            }
            let ticket = std::mem::take(&mut login.ticket);
            (&login.user, login.device, Needs::LoginTicket(ticket))
        }
        Some(Body::Resume(resume)) => (&resume.user, resume.device, Needs::Nothing),
        Some(_) | None => return Err("not a login"),
    };
    let user = UserName::canonical(user).map_err(|_| "not a user name")?;
    if device == 0 {
        return Err("a device is never 0");
    }
    Ok(Proof { user, device: DeviceId(device), needs })
}
