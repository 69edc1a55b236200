//! Forms: who may send them, and what they say. Each is good for one thing, one person, one sign-in, and an hour.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Uri, header};
use trunkline_model::{Failure, Principal};

use super::html::{Html, html};
use super::{Parameters, parameter, parameters};
use crate::server::read_body;
use crate::{Error, Gateway};

/// The largest form.
const MAX_FORM: usize = 48 << 10;

/// How long a form can be sent after it was shown, in seconds.
const FORM_SECONDS: i64 = 3600;

/// How a person came to a page.
#[derive(Clone)]
pub(crate) struct Visit {
    /// From where.
    pub(crate) peer: IpAddr,
    /// The name of the sign-in, where there is one. It opens nothing.
    pub(crate) session: Option<Arc<str>>,
}

/// What a form is good for.
pub(super) struct Purpose<'a> {
    pub(super) verb: &'a str,
    pub(super) of: &'a str,
    pub(super) principal: &'a Principal,
    pub(super) visit: &'a Visit,
}

impl Purpose<'_> {
    fn words(&self) -> String {
        let session = self.visit.session.as_deref().unwrap_or_default();
        format!("console {} {} {} {session}", self.verb, self.of, self.principal.id)
    }

    /// The field of a form that shows that it was made here. Its number is new each time.
    pub(super) fn field(&self, gateway: &Gateway) -> Result<Html, Error> {
        let now = (gateway.sources.now)().as_second();
        let number = (gateway.sources.random_id)();
        let token = gateway.sealer.seal(&format!("{now} {number}"), &self.words());
        let token = token.ok_or_else(|| Error::Log("the form can't be sealed".to_owned()))?;
        Ok(html("<input type=\"hidden\" name=\"token\" value=\"").text(&token).raw("\">"))
    }

    /// Whether a form was made here, for this and recently; gives its number.
    pub(super) fn check(&self, gateway: &Gateway, form: &Parameters) -> Result<String, Error> {
        let refused = Error::Form("its token is missing, too old, or for something else");
        let Some(sealed) = gateway.sealer.open(parameter(form, "token"), &self.words()) else {
            return Err(refused);
        };
        let Some((second, number)) = sealed.split_once(' ') else { return Err(refused) };
        let age = second.parse::<i64>().map(|shown| (gateway.sources.now)().as_second() - shown);
        match age {
            Ok(0..=FORM_SECONDS) => Ok(number.to_owned()),
            _ => Err(refused),
        }
    }
}

/// The fields of a form that was sent from a page of this very origin.
pub(super) async fn read(gateway: &Gateway, headers: &HeaderMap, body: Body) -> Result<Parameters, Failure> {
    let form = read_body(body, MAX_FORM).await?;
    let form = std::str::from_utf8(&form).ok().and_then(|form| format!("/?{form}").parse::<Uri>().ok());
    own(gateway, headers)?;
    Ok(form.map(|form| parameters(&form)).unwrap_or_default())
}

/// Browsers say where a form was: it must have been on a page of this very origin.
fn own(gateway: &Gateway, headers: &HeaderMap) -> Result<(), Error> {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = value(header::ORIGIN).unwrap_or_default();
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    if gateway.console.config().is_public(origin) || (authority.is_some() && authority == value(header::HOST))
    {
        return Ok(());
    }
    Err(Error::Form("it does not come from a page of this origin"))
}

/// Actions are taken unless the console only shows.
pub(super) fn acts(gateway: &Gateway) -> Result<(), Error> {
    if gateway.console.config().read_only { Err(Error::ReadOnly) } else { Ok(()) }
}
