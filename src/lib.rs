//! linkerd-linger prevents the failures that two connection timeouts cause behind Linkerd.
//!
//! Every entry point asks the same question about a pod: does its server close idle connections at a moment that its
//! clients do not expect, and does its network namespace forget a silent half-closed connection too early? Each arrow
//! is one function. Data flows in one direction.
//!
//! ```text
//! bytes --review::review----> Request  -.
//! text  --manifest::read----> Document -+-workload::Object::read-> Object
//!
//! Object  -survey::of(&Catalog)----> Survey           what there is
//! Survey  -rules::inspect----------> Vec<Finding>     what is wrong      } judge::judge
//! Finding -verdict::decide(&Policy)> Verdict          what follows       }
//!
//! Verdict -review::answer, patch::render-> bytes                serve
//! Verdict -report::{text,json,sarif,..}-> text and exit code    lint, explain
//!
//! Cluster -check::{installed,pre,..}-> Vec<CheckResult> -check::output-> text and exit code   check
//! ```
//!
//! ```
//! use jiff::civil::date;
//! use linkerd_linger::{
//!     judgement::{judge::judge, policy::Policy},
//!     linkerd::Injection,
//!     lint::manifest,
//!     workload::{context::Context, object::Object},
//! };
//!
//! let text = "
//! apiVersion: v1
//! kind: Pod
//! metadata:
//!   name: web
//!   annotations: {linkerd.io/inject: enabled}
//! spec:
//!   containers:
//!   - name: web
//!     command: [uvicorn, 'app:app', --timeout-keep-alive, '10']
//!     livenessProbe: {httpGet: {port: 8000}, periodSeconds: 10}
//! ";
//! let manifests = manifest::read("web.yaml", text);
//! let object = Object::read(manifests.documents[0].json())?.expect("a Pod is an object that runs pods");
//! let (context, policy, today) = (Context::default(), Policy::default(), date(2026, 11, 23));
//!
//! let judgement = judge(&object, "shop", &context, &policy, today, Injection::AsAnnotated);
//!
//! let told: Vec<_> = judgement.verdict.judged.iter().map(|judged| &*judged.finding.message).collect();
//! assert_eq!(told, ["web: Uvicorn closes idle connections after 10s; the liveness probe on port 8000 runs every 10s"]);
//! assert!(judgement.verdict.rejects());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A module imports only from itself and from the modules above it. The crate `linkerd-linger-core` has the modules that
//! know and judge: they, and `lint`, use no I/O, no clock and no async code. `tests/layering.rs` enforces this.

pub use linkerd_linger_core::{judgement, linkerd, review, servers, workload};

pub mod base;

pub mod lint;

pub mod admission;

pub mod cluster;

pub mod images;

pub mod sockets;

pub mod measure;

pub mod diagnose;

pub mod cmd;

pub mod cli;
