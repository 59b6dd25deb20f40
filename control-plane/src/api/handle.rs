//! One request: who asks, what for, and which room answers. What enters is a request and the proved client; what leaves
//! is the answer, counted, and for a write one audit line.

use super::accept::{self, Form};
use super::answer::{self, Body};
use super::authenticate::User;
use super::authorize::Asked;
use super::body::{self, Media};
use super::delete::{self, Deletion, Outcome};
use super::duplicates::duplicates;
use super::patch::Patch;
use super::path::{Groups, Part, Probe, Target};
use super::query::{FieldValidation, Query, Run};
use super::represent::{self, Page, Shape};
use super::status::{self, Failure};
use super::virtual_kind::{Made, VirtualKind};
use super::write::{self, Wish, Writer, Written};
use super::{Api, backup, discovery, openapi, read, review, token};
use crate::store::Key;
use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use manifests::Kind;
use mesh_mtls::ApiClient;
use serde_json::{Value, json};
use std::error::Error;
use std::net::SocketAddr;

/// The head of a request, as far as it matters.
struct Head {
    method: Method,
    path: String,
    headers: HeaderMap,
    query: Query,
}

impl Head {
    fn text(&self, name: http::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn form(&self) -> Result<Form, Failure> {
        accept::form(self.text(ACCEPT))
    }

    fn writer(&self) -> Writer {
        Writer::new(&self.query.manager, self.text(USER_AGENT))
    }
}

/// What a request does, as Kubernetes names it.
fn verb(method: &Method, target: &Target, query: &Query) -> &'static str {
    let is_collection = matches!(target, Target::Collection { .. } | Target::Virtual { name: None, .. });
    match (method.as_str(), is_collection) {
        ("GET" | "HEAD", true) if query.watch => "watch",
        ("GET" | "HEAD", true) => "list",
        ("GET" | "HEAD", false) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "deletecollection",
        ("DELETE", false) => "delete",
        _ => "other",
    }
}

/// The kind a request is about, as metrics and messages name it.
fn noun(target: &Target) -> &'static str {
    match target {
        Target::Collection { kind, .. } | Target::Object { kind, .. } => kind.plural(),
        Target::Virtual { kind, .. } => kind.plural(),
        Target::Token { .. } => "tokenrequests",
        Target::AccessReview => "selfsubjectaccessreviews",
        Target::RulesReview => "selfsubjectrulesreviews",
        Target::SubjectReview => "selfsubjectreviews",
        Target::Backup => "backup",
        Target::Restore => "restore",
        Target::Probe(_) => "probe",
        Target::Version
        | Target::Groups(_)
        | Target::Group(_)
        | Target::Resources { .. }
        | Target::OpenApiV2
        | Target::OpenApiV3Index
        | Target::OpenApiV3 { .. } => "discovery",
    }
}

impl Api {
    /// Answers a request.
    pub(crate) async fn handle<B>(
        &self,
        request: Request<B>,
        client: &ApiClient,
        from: SocketAddr,
    ) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let Some(target) = Target::parse(&path) else {
            let failure = match User::of(client, &parts.headers, &*self.tokens) {
                Ok(_) => Failure::no_such_path(&path),
                Err(refusal) => refusal,
            };
            self.count("other", "other", failure.code);
            return answer::failure(&failure);
        };
        let query = match Query::parse(parts.uri.query().unwrap_or_default()) {
            Ok(query) => query,
            Err(failure) => {
                self.count("other", noun(&target), failure.code);
                return answer::failure(&failure);
            }
        };
        let verb = verb(&parts.method, &target, &query);
        let noun = noun(&target);
        let head = Head { method: parts.method, path, headers: parts.headers, query };
        let user = User::of(client, &head.headers, &*self.tokens);
        let who = user.as_ref().map_or_else(|_| "nobody".to_owned(), |user| user.name.clone());
        let result = Box::pin(self.answer(&head, target, verb, body, user)).await;
        let response = result.unwrap_or_else(|failure| {
            if failure.code.is_server_error() {
                tracing::warn!(verb, path = head.path, reason = failure.message(), "an API request failed");
            }
            answer::failure(&failure)
        });
        self.count(verb, noun, response.status());
        if !matches!(verb, "get" | "list" | "watch" | "other") {
            audit(&who, from, verb, &head, &response);
        }
        response
    }

    fn count(&self, verb: &str, kind: &str, code: StatusCode) {
        self.requests.with_label_values(&[verb, kind, code.as_str()]).inc();
    }

    async fn answer<B>(
        &self,
        head: &Head,
        target: Target,
        verb: &'static str,
        body: B,
        user: Result<User, Failure>,
    ) -> Result<Response<Body>, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Target::Probe(probe) = target {
            return Ok(self.probe(probe).await);
        }
        if target == Target::Version {
            return head.read_only(|| answer::json(StatusCode::OK, &version()));
        }
        let user = user?;
        // What there is, and who one is, anyone with a name may ask.
        if let Some(asked) = Asked::of(&target, verb) {
            self.authorize(&user, &asked).await?;
        }
        let bytes = body::read(&head.headers, body).await?;
        match target {
            Target::Collection { kind, namespace } => {
                self.collection(head, verb, kind, namespace, &bytes, &user).await
            }
            Target::Object { kind, namespace, name, part } => {
                let key = Key::new(kind, namespace.unwrap_or_default(), name);
                self.object(head, verb, &key, part, &bytes).await
            }
            Target::Virtual { kind, namespace, name } => {
                self.made(head, verb, kind, namespace.as_deref(), name.as_deref()).await
            }
            Target::Token { namespace, account } if verb == "create" => {
                let request = body::object(body::media(&head.headers), &bytes)?;
                let created = token::create(self, &namespace, &account, request).await?;
                Ok(answer::json(StatusCode::CREATED, &created))
            }
            Target::AccessReview if verb == "create" => {
                let request = body::object(body::media(&head.headers), &bytes)?;
                Ok(answer::json(StatusCode::CREATED, &review::access(self, &user, &request).await?))
            }
            Target::RulesReview if verb == "create" => {
                let request = body::object(body::media(&head.headers), &bytes)?;
                Ok(answer::json(StatusCode::CREATED, &review::rules(self, &user, &request).await?))
            }
            Target::SubjectReview if verb == "create" => {
                Ok(answer::json(StatusCode::CREATED, &review::subject(&user)))
            }
            Target::Backup if verb == "get" => Ok(answer::json(StatusCode::OK, &backup::take(self).await?)),
            Target::Restore if verb == "create" => {
                let request = body::object(body::media(&head.headers), &bytes)?;
                Ok(answer::json(StatusCode::OK, &backup::restore(self, &request).await?))
            }
            Target::Groups(_)
            | Target::Group(_)
            | Target::Resources { .. }
            | Target::OpenApiV2
            | Target::OpenApiV3Index
            | Target::OpenApiV3 { .. } => head.discovery(&target),
            Target::Backup
            | Target::Restore
            | Target::Token { .. }
            | Target::AccessReview
            | Target::RulesReview
            | Target::SubjectReview
            | Target::Probe(_)
            | Target::Version => Err(head.not_allowed()),
        }
    }

    async fn probe(&self, probe: Probe) -> Response<Body> {
        let failed = match probe {
            Probe::Live => None,
            Probe::Ready if !(self.is_ready)() => Some("the control plane is starting or stopping"),
            Probe::Ready => self.store.revision().await.err().map(|_| "the store cannot be read"),
        };
        match failed {
            None => answer::bytes(StatusCode::OK, "text/plain", "ok"),
            Some(why) => answer::bytes(StatusCode::SERVICE_UNAVAILABLE, "text/plain", why),
        }
    }

    async fn collection(
        &self,
        head: &Head,
        verb: &str,
        kind: Kind,
        namespace: Option<String>,
        bytes: &[u8],
        user: &User,
    ) -> Result<Response<Body>, Failure> {
        let query = &head.query;
        let view = read::view(Shape::Stored(kind), head.form()?, query);
        match verb {
            "list" => Ok(answer_shown(&read::list(self, kind, namespace.as_deref(), query, &view).await?)),
            "watch" => {
                let counted = self.watches.enter(&user.name)?;
                let broadcast = read::watch(self, kind, namespace, query.clone(), view, counted).await?;
                Ok(answer::stream(broadcast.frames()))
            }
            "create" if namespace.is_some() == kind.is_namespaced() => {
                let doubled = head.doubled(bytes)?;
                let object = body::object(body::media(&head.headers), bytes)?;
                let mut written =
                    write::create(self, kind, namespace.as_deref(), object, query, &head.writer()).await?;
                written.warnings.extend(doubled);
                Ok(self.answer_written(written, &view, verb).await)
            }
            "deletecollection" => {
                let (deletion, run) =
                    Deletion::read(&body::options(body::media(&head.headers), bytes)?, query)?;
                let gone = delete::delete_collection(self, kind, namespace.as_deref(), query, &deletion, run)
                    .await?;
                let revision = self.store.revision().await?;
                let page = Page { revision, ..Page::default() };
                Ok(answer::json(
                    StatusCode::OK,
                    &view.list(gone.iter().map(represent::object).collect(), &page),
                ))
            }
            _ => Err(head.not_allowed()),
        }
    }

    async fn object(
        &self,
        head: &Head,
        verb: &str,
        key: &Key,
        part: Part,
        bytes: &[u8],
    ) -> Result<Response<Body>, Failure> {
        let view = read::view(Shape::Stored(key.kind), head.form()?, &head.query);
        let wish = match (verb, part) {
            ("get", _) => return Ok(answer_shown(&read::show(self, key, &view).await?)),
            ("delete", Part::Main) => {
                let (deletion, run) =
                    Deletion::read(&body::options(body::media(&head.headers), bytes)?, &head.query)?;
                return Ok(match delete::delete(self, key, &deletion, run).await? {
                    Outcome::Gone(stored) => {
                        let uid = stored.object.read().pointer("/metadata/uid").cloned().unwrap_or_default();
                        answer::json(StatusCode::OK, &status::deleted(key, &uid))
                    }
                    Outcome::Waiting(stored) => {
                        answer::json(StatusCode::ACCEPTED, &view.one(represent::object(&stored)))
                    }
                });
            }
            ("update", _) => Wish::Replace(body::object(body::media(&head.headers), bytes)?),
            ("patch", _) => head.patch(bytes)?,
            _ => return Err(head.not_allowed()),
        };
        let doubled = head.doubled(bytes)?;
        let mut written = write::update(self, key, part, &wish, &head.query, &head.writer()).await?;
        written.warnings.extend(doubled);
        Ok(self.answer_written(written, &view, verb).await)
    }

    /// The object as it is read from now on.
    async fn answer_written(&self, written: Written, view: &represent::View, verb: &str) -> Response<Body> {
        let Written { stored, code, mut warnings } = written;
        let mut object = represent::object(&stored);
        warnings.extend(read::tell(self, &stored.key, &mut object).await);
        // A dry run's object has no place in history.
        if stored.revision.0 == 0
            && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("resourceVersion");
        }
        let mut response = answer::with_warnings(answer::json(code, &view.one(object)), &warnings);
        if verb == "create" {
            response.extensions_mut().insert(Created(stored.key.name));
        }
        response
    }

    /// Objects that are made when they are read.
    async fn made(
        &self,
        head: &Head,
        verb: &str,
        kind: VirtualKind,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<Response<Body>, Failure> {
        if !VirtualKind::VERBS.contains(&verb) {
            return Err(head.not_allowed());
        }
        let view = read::view(Shape::Virtual(kind), head.form()?, &head.query);
        let revision = self.store.revision().await?;
        let Made { mut objects, warnings } = kind.list(self, namespace, name).await?;
        let shown = match name {
            None => {
                objects
                    .retain(|object| head.query.labels.matches(object) && head.query.fields.matches(object));
                view.list(objects, &Page { revision, ..Page::default() })
            }
            Some(name) => {
                let one = objects.pop();
                view.one(one.ok_or_else(|| Failure::not_found(kind.group(), kind.plural(), name))?)
            }
        };
        Ok(answer::with_warnings(answer::json(StatusCode::OK, &shown), &warnings))
    }
}

impl Head {
    fn not_allowed(&self) -> Failure {
        Failure::method_not_allowed(self.method.as_str(), &self.path)
    }

    fn read_only(&self, answer: impl FnOnce() -> Response<Body>) -> Result<Response<Body>, Failure> {
        if self.method == Method::GET || self.method == Method::HEAD {
            Ok(answer())
        } else {
            Err(self.not_allowed())
        }
    }

    fn discovery(&self, target: &Target) -> Result<Response<Body>, Failure> {
        let accept = self.text(ACCEPT);
        let found = match target {
            Target::Groups(which) if accept::takes_aggregated_discovery(accept) => {
                let content = discovery::aggregated(*which).to_string();
                return self.read_only(|| answer::bytes(StatusCode::OK, discovery::AGGREGATED_TYPE, content));
            }
            Target::OpenApiV2 if accept::takes_protobuf_openapi(accept) => {
                let media = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
                return self
                    .read_only(|| answer::bytes(StatusCode::OK, media, openapi::v2::protobuf_document()));
            }
            Target::Groups(which @ (Groups::Legacy | Groups::Named)) => Some(discovery::groups(*which)),
            Target::Group(group) => discovery::group(group),
            Target::Resources { group, version } => discovery::resource_list(group, version),
            Target::OpenApiV2 => Some(openapi::v2::json_document()),
            Target::OpenApiV3Index => Some(openapi::index()),
            Target::OpenApiV3 { group, version } => openapi::document(group, version),
            Target::Probe(_)
            | Target::Version
            | Target::Collection { .. }
            | Target::Object { .. }
            | Target::Virtual { .. }
            | Target::Backup
            | Target::Restore
            | Target::Token { .. }
            | Target::AccessReview
            | Target::RulesReview
            | Target::SubjectReview => None,
        };
        let found = found.ok_or_else(|| Failure::no_such_path(&self.path))?;
        self.read_only(|| answer::json(StatusCode::OK, &found))
    }

    /// Warnings about fields that the body, if it is JSON, says twice. (YAML that does is refused as a text.)
    fn doubled(&self, bytes: &[u8]) -> Result<Vec<String>, Failure> {
        if self.query.validation == FieldValidation::Ignore {
            return Ok(Vec::new());
        }
        let doubled: Vec<_> =
            duplicates(bytes).iter().map(|path| format!("duplicate field \"{path}\"")).collect();
        if self.query.validation == FieldValidation::Strict && !doubled.is_empty() {
            return Err(Failure::bad_request(format!("strict decoding error: {}", doubled.join(", "))));
        }
        Ok(doubled)
    }

    /// The change a PATCH asks for.
    fn patch(&self, bytes: &[u8]) -> Result<Wish, Failure> {
        match body::media(&self.headers) {
            Media::JsonPatch => Ok(Wish::Patch(Patch::json(body::json(bytes)?)?)),
            Media::MergePatch => Ok(Wish::Patch(Patch::Merge(body::json(bytes)?))),
            Media::StrategicPatch => Ok(Wish::Patch(Patch::Strategic(body::json(bytes)?))),
            Media::ApplyPatch if self.query.manager.name.is_none() => {
                Err(Failure::bad_request("query parameter fieldManager: is required for apply patch"))
            }
            Media::ApplyPatch => {
                Ok(Wish::Apply { configuration: body::yaml(bytes)?, force: self.query.manager.force })
            }
            Media::Json | Media::Yaml | Media::Protobuf | Media::Other => Err(Failure::unsupported_media(
                "a patch must be of type `application/merge-patch+json`, `application/json-patch+json`, \
                 `application/strategic-merge-patch+json` or `application/apply-patch+yaml`: set the Content-Type",
            )),
        }
    }
}

fn answer_shown(shown: &read::Shown) -> Response<Body> {
    answer::with_warnings(answer::json(StatusCode::OK, &shown.value), &shown.warnings)
}

/// The name of an object a request created, for the audit line: its URL does not say it.
#[derive(Debug, Clone)]
struct Created(String);

fn audit(who: &str, from: SocketAddr, verb: &str, head: &Head, response: &Response<Body>) {
    let name =
        response.extensions().get::<Created>().map_or(String::new(), |created| format!("/{}", created.0));
    let object = format!("{}{name}", head.path);
    let is_dry = head.query.run == Run::Dry;
    let code = response.status().as_u16();
    tracing::info!(target: "audit", who, %from, verb, object, dry_run = is_dry, code, "API write");
}

/// What `kubectl version` asks. The Kubernetes version is the one whose conventions are spoken.
fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "gitVersion": format!("v1.33.0-outrigger.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}
