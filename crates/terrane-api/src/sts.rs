//! STS, as far as it is offered: `GetCallerIdentity` (query protocol, API version 2011-06-15).

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use terrane_auth::{Auth, AuthError, Identity, Principal};

use crate::body::{Body, BodyError, read_whole};
use crate::xml;

const BODY_BYTES_MAX: usize = 64 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers STS calls.
#[derive(Clone)]
pub struct Sts {
    auth: Auth,
}

/// An error in STS's words.
struct Refusal(StatusCode, &'static str, Cow<'static, str>);

impl Sts {
    /// Over these accounts.
    pub fn new(auth: Auth) -> Self {
        Self { auth }
    }

    pub(crate) async fn handle<B>(&self, id: &str, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        match self.answer(request).await {
            Ok(identity) => xml::answer(StatusCode::OK, caller_identity(&identity, id)),
            Err(Refusal(status, code, message)) => xml::query_error(status, code, &message, id),
        }
    }

    async fn answer<B>(&self, request: Request<B>) -> Result<Identity, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<BodyError>,
    {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        let (parts, body) = request.into_parts();
        let body = read_whole(body, BODY_BYTES_MAX, BODY_TIMEOUT).await;
        let body = body.map_err(|error| Refusal(BAD, "MalformedQueryString", error.to_string().into()))?;
        let digest: [u8; 32] = Sha256::digest(&body).into();
        let sender = self.auth.authenticate((&parts).into(), "sts", Some(&digest), SystemTime::now());
        let sender = sender.await.map_err(refusal)?;
        let Principal::Known(identity) = sender.principal else {
            return Err(Refusal(StatusCode::FORBIDDEN, "MissingAuthenticationToken", "Not signed.".into()));
        };
        self.auth.admit(&identity.account, 1).map_err(|error| refusal(error.into()))?;
        match action(parts.uri.query(), &body).as_deref() {
            Some("GetCallerIdentity") => Ok(identity),
            Some(action) => {
                let message = format!("{action} is not offered; GetCallerIdentity is.");
                Err(Refusal(BAD, "InvalidAction", message.into()))
            }
            None => Err(Refusal(BAD, "MissingAction", "The parameter Action is missing.".into())),
        }
    }
}

fn action(query: Option<&str>, body: &[u8]) -> Option<String> {
    let find = |bytes: &[u8]| {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(bytes).ok()?;
        pairs.into_iter().find_map(|(name, value)| (name == "Action").then_some(value))
    };
    find(body).or_else(|| find(query?.as_bytes()))
}

fn refusal(error: AuthError) -> Refusal {
    let code = match error.code() {
        "InvalidAccessKeyId" => "InvalidClientTokenId",
        "RequestTimeTooSkewed" => "RequestExpired",
        "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError" => "IncompleteSignature",
        "SlowDown" => "Throttling",
        code => code,
    };
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_server_error() {
        tracing::error!(error = &error as &dyn std::error::Error, "STS cannot answer");
        return Refusal(status, code, "Credentials cannot be verified now.".into());
    }
    Refusal(status, code, error.to_string().into())
}

fn caller_identity(identity: &Identity, id: &str) -> String {
    // AWS answers opaque user IDs here; the root's is its account number.
    let user = identity.user.as_ref().map_or_else(|| identity.account.to_string(), ToString::to_string);
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  \
         <GetCallerIdentityResult>\n    <Arn>{}</Arn>\n    <UserId>{}</UserId>\n    <Account>{}</Account>\n  \
         </GetCallerIdentityResult>\n  <ResponseMetadata>\n    <RequestId>{id}</RequestId>\n  \
         </ResponseMetadata>\n</GetCallerIdentityResponse>\n",
        xml::escape(&identity.to_string()),
        xml::escape(&user),
        identity.account
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_is_in_the_body_or_in_the_query() {
        let found = |query, body: &str| action(query, body.as_bytes());
        assert_eq!(
            found(None, "Action=GetCallerIdentity&Version=2011-06-15").as_deref(),
            Some("GetCallerIdentity")
        );
        assert_eq!(found(Some("Version=1&Action=A%20b"), "").as_deref(), Some("A b"));
        assert_eq!(found(None, "Version=1"), None);
    }
}
