//! The gate that every request passes: it finds out who asks, asks the authorizers, and puts the [`Caller`] into the
//! request's extensions for the verbs.
//!
//! Anonymous callers get 401 wherever the chain lets nobody in without a name; impersonation (`kubectl --as`) is a
//! permission of its own, asked as the verb `impersonate`.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, header, request::Parts};
use jiff::Timestamp;

use super::{
    AUTHENTICATED, Authorizer, Caller, Decision, RequestAttributes, UserInfo, bootstrap::BootstrapTokens,
    refusal, tokens::Tokens,
};
use crate::{audit::AskedBy, status::Status};

const IMPERSONATE_USER: &str = "impersonate-user";
const IMPERSONATE_GROUP: &str = "impersonate-group";
const IMPERSONATE_UID: &str = "impersonate-uid";
const IMPERSONATE_EXTRA: &str = "impersonate-extra-";

/// Whom the client certificate of a connection names. The listener puts it into the extensions of each request.
#[derive(Clone, Debug)]
pub struct Peer(pub Option<UserInfo>);

/// The gate.
#[derive(Clone)]
pub struct Gate {
    identity: Identity,
    tokens: Arc<Tokens>,
    bootstrap: Option<BootstrapTokens>,
    authorizer: Arc<dyn Authorizer>,
}

#[derive(Clone)]
enum Identity {
    /// Proven by each request.
    Proven,
    /// Given to the program that holds the router.
    Fixed(Arc<UserInfo>),
}

impl Gate {
    /// A gate in front of the network: each request proves who it comes from, by certificate or token.
    pub fn new(tokens: Arc<Tokens>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            identity: Identity::Proven,
            tokens,
            bootstrap: None,
            authorizer,
        }
    }

    /// Lets nodes in that show a bootstrap token, to join.
    pub fn with_bootstrap_tokens(self, bootstrap: BootstrapTokens) -> Self {
        Self {
            bootstrap: Some(bootstrap),
            ..self
        }
    }

    /// The same rules for one user inside this process, who proves nothing.
    pub fn for_user(&self, user: UserInfo) -> Self {
        Self {
            identity: Identity::Fixed(Arc::new(user)),
            ..self.clone()
        }
    }

    /// Puts the gate in front of everything that `router` answers.
    pub fn guard(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self, enter))
    }

    /// Who asks, if they may; `asked` is told what is known of them, whatever becomes of the request.
    async fn admit_caller(&self, request: &Parts, asked: &mut Option<AskedBy>) -> Result<Caller, Status> {
        let user = match &self.identity {
            Identity::Fixed(user) => (**user).clone(),
            Identity::Proven => self.authenticate(request).await?,
        };
        let read = |user| {
            let uri = &request.uri;
            RequestAttributes::read(user, &request.method, uri.path(), uri.query())
        };
        *asked = Some(AskedBy {
            attributes: read(user.clone()),
            impersonator: None,
        });
        let proven = user.clone();
        let user = self.impersonate(user, &request.headers).await?;
        let attributes = read(user);
        *asked = Some(AskedBy {
            impersonator: (proven != attributes.user).then_some(proven),
            attributes: attributes.clone(),
        });
        match self.authorizer.authorize(&attributes).await {
            Decision::Allow => {
                Ok(Caller::new(attributes, self.authorizer.clone()).with_tokens(self.tokens.clone()))
            }
            _ if !attributes.user.is_in(AUTHENTICATED) => Err(Status::unauthorized()),
            Decision::Deny(reason) => Err(refusal(&attributes, &reason)),
            Decision::NoOpinion => Err(refusal(&attributes, "")),
        }
    }

    /// A certificate counts before a token. A token that is not accepted is refused, not taken for no token.
    async fn authenticate(&self, request: &Parts) -> Result<UserInfo, Status> {
        if let Some(Peer(Some(user))) = request.extensions.get::<Peer>() {
            return Ok(user.clone());
        }
        let Some(value) = request.headers.get(header::AUTHORIZATION) else {
            return Ok(UserInfo::anonymous());
        };
        let token = value
            .to_str()
            .ok()
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = token.ok_or_else(Status::unauthorized)?;
        let (token, now) = (token.trim(), Timestamp::now());
        if let Some(user) = self.tokens.verify(token, now) {
            return Ok(user);
        }
        let user = match &self.bootstrap {
            Some(bootstrap) => bootstrap.verify(token, now).await,
            None => None,
        };
        user.ok_or_else(Status::unauthorized)
    }

    async fn impersonate(&self, user: UserInfo, headers: &HeaderMap) -> Result<UserInfo, Status> {
        let values = |name: &str| -> Vec<String> {
            headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .map(str::to_owned)
                .collect()
        };
        let (name, groups) = (values(IMPERSONATE_USER), values(IMPERSONATE_GROUP));
        let uid = values(IMPERSONATE_UID).into_iter().next().unwrap_or_default();
        let extra: Vec<(String, Vec<String>)> = headers
            .keys()
            .filter_map(|key| {
                key.as_str()
                    .strip_prefix(IMPERSONATE_EXTRA)
                    .map(|extra| (extra, key.as_str()))
            })
            .map(|(extra, key)| (extra.to_owned(), values(key)))
            .collect();
        let Some(name) = name.into_iter().next() else {
            if groups.is_empty() && uid.is_empty() && extra.is_empty() {
                return Ok(user);
            }
            return Err(Status::bad_request(
                "impersonating a group, uid or extra needs the header Impersonate-User",
            ));
        };
        let mut asked = vec![("users".to_owned(), name.clone())];
        asked.extend(groups.iter().map(|group| ("groups".to_owned(), group.clone())));
        asked.extend((!uid.is_empty()).then(|| ("uids".to_owned(), uid.clone())));
        for (key, values) in &extra {
            asked.extend(
                values
                    .iter()
                    .map(|value| (format!("userextras/{key}"), value.clone())),
            );
        }
        for (resource, name) in asked {
            self.may_impersonate(&user, &resource, name).await?;
        }
        let impersonated = match name.as_str() {
            "system:anonymous" => UserInfo::anonymous(),
            _ if groups.is_empty() => UserInfo::authenticated(name.as_str(), account_groups(&name)),
            _ => UserInfo::authenticated(name, groups),
        };
        Ok(UserInfo {
            uid,
            extra: extra.into_iter().collect(),
            ..impersonated
        })
    }

    async fn may_impersonate(&self, user: &UserInfo, resource: &str, name: String) -> Result<(), Status> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = RequestAttributes {
            user: user.clone(),
            verb: "impersonate".to_owned(),
            group: if resource == "uids" || resource == "userextras" {
                "authentication.k8s.io"
            } else {
                ""
            }
            .to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name,
            resource_request: true,
            ..RequestAttributes::default()
        };
        match self.authorizer.authorize(&attributes).await {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(refusal(&attributes, &reason)),
            Decision::NoOpinion => Err(refusal(&attributes, "")),
        }
    }
}

async fn enter(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let mut asked = None;
    let mut response = match gate.admit_caller(&head, &mut asked).await {
        Ok(caller) => {
            head.extensions.insert(caller.user().clone());
            head.extensions.insert(caller);
            next.run(Request::from_parts(head, body)).await
        }
        Err(status) => status.into_response(),
    };
    if let Some(asked) = asked {
        response.extensions_mut().insert(asked);
    }
    response
}

/// The groups of a service account, by its name; others have none of their own.
fn account_groups(name: &str) -> Vec<String> {
    let account = name.strip_prefix("system:serviceaccount:");
    match account.and_then(|account| account.split_once(':')) {
        Some((namespace, _)) => vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use axum::{Extension, body::Body, routing::get};
    use http::StatusCode;
    use tower::ServiceExt;

    use super::*;
    use crate::auth::Chain;

    struct OnlyReading;

    #[async_trait]
    impl Authorizer for OnlyReading {
        async fn authorize(&self, attributes: &RequestAttributes) -> Decision {
            if attributes.verb == "list" {
                Decision::Allow
            } else {
                Decision::NoOpinion
            }
        }
    }

    async fn who(Extension(user): Extension<UserInfo>) -> String {
        format!("{} {}", user.name, user.groups.join(","))
    }

    fn gate(tokens: &Arc<Tokens>) -> Router {
        let chain = Arc::new(Chain::new(vec![Arc::new(OnlyReading)]));
        let router = Router::new()
            .route("/version", get(who))
            .route("/api/v1/nodes", get(who).post(who));
        Gate::new(tokens.clone(), chain).guard(router)
    }

    async fn ask(
        router: &Router,
        path: &str,
        headers: &[(&str, &str)],
        peer: Option<UserInfo>,
    ) -> (StatusCode, String) {
        let (method, path) = path.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer(peer));
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn without_an_identity_only_the_version_is_told() {
        let router = gate(&Arc::new(Tokens::ephemeral().unwrap()));
        assert_eq!(ask(&router, "GET /version", &[], None).await.0, StatusCode::OK);
        let (code, body) = ask(&router, "GET /api/v1/nodes", &[], None).await;
        assert_eq!(code, StatusCode::UNAUTHORIZED);
        assert!(body.contains(r#""reason":"Unauthorized""#), "{body}");
    }

    #[tokio::test]
    async fn a_token_and_a_certificate_each_name_a_user_and_a_bad_token_names_none() {
        let tokens = Arc::new(Tokens::ephemeral().unwrap());
        let router = gate(&tokens);
        let reader = UserInfo::authenticated("reader", ["readers"]);
        let token = tokens
            .issue(&reader, &[], Duration::from_secs(60), Timestamp::now())
            .unwrap();
        let bearer = format!("Bearer {token}");
        let said = ask(&router, "GET /api/v1/nodes", &[("authorization", &bearer)], None).await;
        assert_eq!(
            said,
            (StatusCode::OK, "reader readers,system:authenticated".to_owned())
        );
        let said = ask(&router, "GET /api/v1/nodes", &[], Some(reader.clone())).await;
        assert_eq!(said.0, StatusCode::OK);
        let said = ask(
            &router,
            "GET /version",
            &[("authorization", "Bearer nonsense")],
            None,
        )
        .await;
        assert_eq!(said.0, StatusCode::UNAUTHORIZED);
        let (code, body) = ask(&router, "POST /api/v1/nodes", &[], Some(reader)).await;
        assert_eq!(code, StatusCode::FORBIDDEN);
        assert!(
            body.contains(r#"User \"reader\" cannot create resource \"nodes\""#),
            "{body}"
        );
    }

    #[tokio::test]
    async fn only_who_may_impersonate_becomes_somebody_else() {
        let router = gate(&Arc::new(Tokens::ephemeral().unwrap()));
        let headers = [
            ("Impersonate-User", "jane"),
            ("Impersonate-Group", "a"),
            ("Impersonate-Group", "b"),
        ];
        let said = ask(&router, "GET /api/v1/nodes", &headers, Some(UserInfo::loopback())).await;
        assert_eq!(said, (StatusCode::OK, "jane a,b,system:authenticated".to_owned()));
        let reader = UserInfo::authenticated("reader", [""; 0]);
        let (code, body) = ask(&router, "GET /api/v1/nodes", &headers, Some(reader)).await;
        assert_eq!(code, StatusCode::FORBIDDEN);
        assert!(
            body.contains(r#"cannot impersonate resource \"users\""#),
            "{body}"
        );
        let said = ask(
            &router,
            "GET /api/v1/nodes",
            &[("Impersonate-Uid", "1")],
            Some(UserInfo::loopback()),
        )
        .await;
        assert_eq!(said.0, StatusCode::BAD_REQUEST);
    }
}
