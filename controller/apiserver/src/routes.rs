//! From a request to a verb and back. What a request asks was read once, by the gate ([`crate::auth`]), so that what is done is what
//! was allowed.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_TYPE, USER_AGENT, WARNING};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use crate::ApiServer;
use crate::audit;
use crate::auth::{Caller, RequestAttributes, reviews};
use crate::deadline;
use crate::kinds::Resource;
use crate::negotiation::{self, Decoded, Representation, Shape};
use crate::objects;
use crate::parameters::{self, ApplyOptions, ListOptions, Parameters, WriteOptions};
use crate::present::View;
use crate::status::Status;
use crate::storage;
use crate::store::{self, Range, backup::Backup};
use crate::table::IncludeObject;
use crate::verbs::delete::{DeleteOptions, Deleted, delete, delete_collection};
use crate::verbs::patch::Patch;
use crate::verbs::update::Part;
use crate::verbs::{Call, Written, apply, create, get, list, metadata, patch, scale, update, watch};
use crate::{health, metrics::Asked};

/// Answers any request.
pub async fn answer(State(server): State<ApiServer>, request: Request) -> Response {
    let caller = match Caller::of(request.extensions()) {
        Ok(caller) => caller.clone(),
        Err(status) => return status.into_response(),
    };
    let asked = Asked::begin(&server, &caller, request.uri().query());
    let deadline = match deadline::of(request.uri(), server.request_timeout()) {
        Ok(deadline) => deadline,
        Err(status) => {
            asked.end(StatusCode::BAD_REQUEST);
            return status.into_response();
        }
    };
    let response = if caller.attributes.resource_request {
        match tokio::time::timeout(deadline, resource(&server, caller, request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => status.into_response(),
            Err(_) => {
                Status::timeout("request did not complete within the allotted timeout", 0).into_response()
            }
        }
    } else {
        document(&server, request).await
    };
    asked.end(response.status());
    response
}

/// Paths that are no resource.
async fn document(server: &ApiServer, request: Request) -> Response {
    let path = request.uri().path().trim_matches('/');
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match first {
        "version" if rest.is_empty() => axum::Json(server.version()).into_response(),
        "healthz" | "livez" | "readyz" => health::answer(server, first, rest, request.uri()).await,
        "metrics" if rest.is_empty() => match measure(server).await {
            Ok(revision) => server.metrics().exposition(revision),
            Err(error) => storage::refusal(error).into_response(),
        },
        "backup" if rest.is_empty() => match Backup::take(server.store()).await {
            Ok(backup) => lines(backup),
            Err(error) => storage::refusal(error).into_response(),
        },
        _ => not_found(),
    }
}

/// Counts what is stored; gives back the newest revision.
async fn measure(server: &ApiServer) -> store::Result<u64> {
    let count_only = || Range {
        limit: Some(0),
        ..Range::default()
    };
    for resource in server.kinds().catalog().stored() {
        let counted = server
            .store()
            .list(&storage::prefix(resource, ""), count_only())
            .await?;
        server.metrics().set_objects(resource, counted.remaining);
    }
    server.store().revision().await
}

/// Everything that the store holds, Secrets too: the path is open to masters, and to whom a role names it.
fn lines(backup: Backup) -> Response {
    let lines = futures::stream::iter(backup.lines().map(Ok::<Bytes, Infallible>));
    ([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// Upstream's answer to paths that nobody knows.
pub fn not_found() -> Response {
    (
        StatusCode::NOT_FOUND,
        [(CONTENT_TYPE, "text/plain; charset=utf-8")],
        "404 page not found\n",
    )
        .into_response()
}

/// A request for a resource, with what has been read of it.
struct Asking {
    call: Call,
    name: String,
    parameters: Parameters,
    headers: HeaderMap,
    view: View,
}

async fn resource(server: &ApiServer, caller: Caller, request: Request) -> Result<Response, Status> {
    let attributes = caller.attributes.clone();
    let found = server
        .kinds()
        .find(&attributes.group, &attributes.version, &attributes.resource);
    let Some(resource) = found else {
        let catalog = server.kinds().catalog();
        let known = catalog
            .in_version(&attributes.group, &attributes.version)
            .any(|resource| !resource.is_custom());
        return if known {
            Err(Status::no_such_resource())
        } else {
            Ok(not_found())
        };
    };
    if request.method() == Method::HEAD {
        return Err(Status::method_not_allowed());
    }
    if attributes.name.is_empty() && matches!(attributes.verb.as_str(), "update" | "patch") {
        return Err(Status::method_not_allowed());
    }
    let of_itself = attributes.group.is_empty() && attributes.resource == "namespaces";
    if !resource.namespaced && !attributes.namespace.is_empty() && !of_itself {
        return Ok(not_found());
    }
    let namespace = if resource.namespaced {
        attributes.namespace.clone()
    } else {
        String::new()
    };
    let (parts, mut body) = request.into_parts();
    if let Some(kept) = parts.extensions.get::<audit::KeptBody>() {
        let bytes = negotiation::read(body).await?;
        kept.keep(&bytes);
        body = bytes.into();
    }
    let parameters = Parameters::of(&parts.uri)?;
    let shape = if matches!(attributes.verb.as_str(), "list" | "deletecollection") {
        Shape::List
    } else {
        Shape::Single
    };
    let view = view(&parameters, &parts.headers, shape, &resource)?;
    let call = Call {
        server: server.clone(),
        caller,
        resource,
        namespace,
        manager: parameters::manager(&parameters, user_agent(&parts.headers)),
    };
    let deprecation = call.resource.deprecation_warning.clone();
    let writes = matches!(attributes.verb.as_str(), "create" | "update" | "patch");
    let without_effect = call.resource.without_effect.filter(|_| writes);
    let asking = Asking {
        call,
        name: attributes.name.clone(),
        parameters,
        headers: parts.headers,
        view,
    };
    let answered = asking.answer(&attributes, of_itself, body).await;
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    if let Some(text) = deprecation {
        warn(&mut response, &text);
    }
    if let Some(text) = without_effect.filter(|_| response.status().is_success()) {
        warn(&mut response, text);
    }
    Ok(response)
}

/// In which form the client wants to see objects.
fn view(
    parameters: &Parameters,
    headers: &HeaderMap,
    shape: Shape,
    resource: &Resource,
) -> Result<View, Status> {
    let representation = negotiation::representation(headers, shape, resource)?;
    let asked = parameters.text("includeObject");
    let include = match IncludeObject::parse(asked) {
        Some(include) => include,
        // What is no table has no rows that could include anything.
        None if representation != Representation::Table => IncludeObject::default(),
        None => {
            return Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {asked:?}: must be 'Metadata', 'Object', \
                 'None', or empty"
            )));
        }
    };
    Ok(View {
        representation,
        include,
    })
}

/// Upstream takes an unknown subresource of a custom resource for an object that is not there.
fn no_such_subresource(asking: &Asking) -> Status {
    if asking.call.resource.is_custom() {
        Status::not_found(&asking.call.group_resource(), &asking.name)
    } else {
        Status::no_such_resource()
    }
}

impl Asking {
    async fn answer(
        &self,
        attributes: &RequestAttributes,
        of_itself: bool,
        body: Body,
    ) -> Result<Response, Status> {
        match (attributes.subresource.as_str(), attributes.verb.as_str()) {
            ("", verb) => self.main(verb, body).await,
            ("status", verb) if self.call.resource.subresources.status => {
                self.part(Part::Status, verb, body).await
            }
            ("scale", verb) if self.call.resource.subresources.scale.is_some() => {
                self.scale(verb, body).await
            }
            ("token", "create") if self.call.resource.has_extra("token") => self.token(body).await,
            ("approval", verb) if self.call.resource.has_extra("approval") => {
                self.part(Part::Approval, verb, body).await
            }
            ("ephemeralcontainers", verb) if self.call.resource.has_extra("ephemeralcontainers") => {
                self.part(Part::EphemeralContainers, verb, body).await
            }
            ("finalize", verb) if of_itself => self.part(Part::Finalize, verb, body).await,
            ("token", _) if self.call.resource.has_extra("token") => Err(Status::method_not_allowed()),
            _ => Err(no_such_subresource(self)),
        }
    }

    async fn main(&self, verb: &str, body: Body) -> Result<Response, Status> {
        let Self {
            call,
            name,
            parameters,
            view,
            ..
        } = self;
        let resource = &call.resource;
        if !resource.has_verb(verb) {
            return Err(Status::method_not_allowed());
        }
        if resource.namespaced && call.namespace.is_empty() && !matches!(verb, "list" | "watch") {
            return Err(if name.is_empty() {
                Status::method_not_allowed()
            } else {
                Status::no_such_resource()
            });
        }
        if !resource.is_stored() {
            return self.review(body).await;
        }
        let only_name = Some(name.as_str()).filter(|name| !name.is_empty());
        match verb {
            "get" => {
                let at = parameters::at_of_one(parameters)?;
                Ok(self.one(StatusCode::OK, get::get(call, name, at).await?))
            }
            "list" => {
                let listed = list::entries(call, &ListOptions::of(parameters, false)?, only_name).await?;
                Ok(json_answer(view.list_of_entries(resource, listed)?))
            }
            "watch" => {
                let lines = watch::watch(call, &ListOptions::of(parameters, true)?, *view, only_name).await?;
                let body = Body::from_stream(lines.map(Ok::<Bytes, Infallible>));
                Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
            }
            "create" if !name.is_empty() => Err(Status::method_not_allowed()),
            "create" => {
                let options = WriteOptions::of(parameters, "CreateOptions")?;
                let written = create::create(call, self.decoded(body).await?, options).await?;
                Ok(self.written(written))
            }
            "update" | "patch" => self.part(Part::Main, verb, body).await,
            "delete" => self.delete(body).await,
            "deletecollection" => {
                let options = DeleteOptions::of(parameters, self.optional(body).await?.as_ref())?;
                let listed = delete_collection(call, &ListOptions::of(parameters, false)?, &options).await?;
                Ok(answer_of(StatusCode::OK, &view.list(resource, listed)))
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    async fn part(&self, part: Part, verb: &str, body: Body) -> Result<Response, Status> {
        let Self {
            call,
            name,
            parameters,
            headers,
            ..
        } = self;
        let written = match verb {
            "get" => {
                let at = parameters::at_of_one(parameters)?;
                return Ok(self.one(StatusCode::OK, get::get(call, name, at).await?));
            }
            "update" => {
                let options = WriteOptions::of(parameters, "UpdateOptions")?;
                update::update(call, name, part, self.decoded(body).await?, options).await?
            }
            "patch" if negotiation::media_type(headers) == patch::APPLY => {
                let options = ApplyOptions::of(parameters)?;
                let config = self.configuration(body).await?;
                apply::apply_object(call, name, part, &config, options).await?
            }
            "patch" => {
                let format = patch::format(call, negotiation::media_type(headers))?;
                let options = WriteOptions::of(parameters, "PatchOptions")?;
                let patch = Patch::read(format, &negotiation::read(body).await?)?;
                patch::patch(call, name, part, &patch, options).await?
            }
            _ => return Err(Status::method_not_allowed()),
        };
        Ok(self.written(written))
    }

    async fn scale(&self, verb: &str, body: Body) -> Result<Response, Status> {
        let Self {
            call,
            name,
            parameters,
            headers,
            ..
        } = self;
        let written = match verb {
            "get" => {
                let object = get::get(call, name, parameters::at_of_one(parameters)?).await?;
                let scale = scale::read(&object, scale::paths(call)?, call.resource.is_custom())?;
                return Ok(answer_of(StatusCode::OK, &scale));
            }
            "update" => {
                let options = WriteOptions::of(parameters, "UpdateOptions")?;
                scale::update(call, name, self.decoded(body).await?, options).await?
            }
            "patch" if negotiation::media_type(headers) == patch::APPLY => {
                let options = ApplyOptions::of(parameters)?;
                let config = self.configuration(body).await?;
                apply::apply_scale(call, name, &config, options).await?
            }
            "patch" => {
                let format = patch::format(call, negotiation::media_type(headers))?;
                let options = WriteOptions::of(parameters, "PatchOptions")?;
                let patch = Patch::read(format, &negotiation::read(body).await?)?;
                scale::patch(call, name, &patch, options).await?
            }
            _ => return Err(Status::method_not_allowed()),
        };
        let mut response = answer_of(StatusCode::OK, &written.object);
        written.warnings.iter().for_each(|text| warn(&mut response, text));
        Ok(response)
    }

    /// A question that is answered and not kept.
    async fn review(&self, body: Body) -> Result<Response, Status> {
        if self.view.representation != Representation::Object {
            return Err(Status::not_acceptable(negotiation::WRITTEN));
        }
        let mut question = self.decoded(body).await?.value;
        metadata::check_body(&self.call, &mut question)?;
        create::record_asker(&self.call, &mut question);
        let answer = reviews::answer(&self.call.caller, &self.call.resource.plural, question).await?;
        Ok(answer_of(StatusCode::CREATED, &answer))
    }

    /// A token for a ServiceAccount.
    async fn token(&self, body: Body) -> Result<Response, Status> {
        let Self { call, name, .. } = self;
        let (account, _) = call.read(name).await?;
        let mut request = self.decoded(body).await?.value;
        if !request.is_object() {
            request = json!({});
        }
        create::record_token_request(call, name, objects::uid(&account), &mut request);
        let answer = reviews::request_token(
            &call.caller,
            &call.namespace,
            name,
            objects::uid(&account),
            request,
        )?;
        Ok(answer_of(StatusCode::CREATED, &answer))
    }

    async fn delete(&self, body: Body) -> Result<Response, Status> {
        let Self {
            call,
            name,
            parameters,
            ..
        } = self;
        let options = DeleteOptions::of(parameters, self.optional(body).await?.as_ref())?;
        Ok(match delete(call, name, &options).await? {
            Deleted::Waiting(object) => self.one(StatusCode::OK, object),
            Deleted::Gone(object) => {
                let uid = objects::uid(&object);
                answer_of(
                    StatusCode::OK,
                    &Status::success(&call.group_resource(), name, uid),
                )
            }
        })
    }

    async fn decoded(&self, body: Body) -> Result<Decoded, Status> {
        let kind = self.expected_kind();
        let bytes = negotiation::read(body).await?;
        let decoded = negotiation::decode(&self.headers, &bytes, kind)?;
        let is_custom = self.call.resource.is_custom() && kind == self.call.resource.kind;
        negotiation::check_type(&decoded.value, &bytes, kind, is_custom)?;
        Ok(decoded)
    }

    /// The kind of what a request's body has to be.
    fn expected_kind(&self) -> &str {
        let resource = &self.call.resource;
        match self.call.caller.attributes.subresource.as_str() {
            "scale" => "Scale",
            name => {
                let mut others = resource.subresources.others.iter();
                others
                    .find(|other| other.name == name)
                    .map_or(&resource.kind, |other| other.kind)
            }
        }
    }

    /// The body of an apply, which is YAML.
    async fn configuration(&self, body: Body) -> Result<Decoded, Status> {
        let bytes = negotiation::read(body).await?;
        negotiation::yaml_or_json(&bytes)
            .map_err(|why| Status::bad_request(format!("error decoding patch: {why}")))
    }

    /// The body of a DELETE, which may be empty.
    async fn optional(&self, body: Body) -> Result<Option<Decoded>, Status> {
        let bytes = negotiation::read(body).await?;
        if bytes.is_empty() {
            Ok(None)
        } else {
            negotiation::decode(&self.headers, &bytes, "DeleteOptions").map(Some)
        }
    }

    fn one(&self, code: StatusCode, object: Value) -> Response {
        answer_of(code, &self.view.object(&self.call.resource, object, true))
    }

    fn written(&self, written: Written) -> Response {
        let code = if written.created {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        let mut response = self.one(code, written.object);
        written.warnings.iter().for_each(|text| warn(&mut response, text));
        response
    }
}

fn user_agent(headers: &HeaderMap) -> &str {
    let value = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn answer_of(code: StatusCode, value: &Value) -> Response {
    (code, axum::Json(value)).into_response()
}

fn json_answer(bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], bytes).into_response()
}

/// Adds a `Warning` header, RFC 7234, as upstream writes it. A text that cannot stand in a header is left out.
fn warn(response: &mut Response, text: &str) {
    let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
    if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
        response.headers_mut().append(WARNING, value);
    }
}
