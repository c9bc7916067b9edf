//! Federations made here: entities with a key each, what they say, and the web that says it for them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use countersign::judge::federation::{Answer, Answers, Discovery, EntityId, Options, Query, Step, TrustAnchor, discover};
use countersign::judge::jose::{KeySet, UnverifiedJws};
use countersign::judge::jwk::Algorithm;
use countersign::values::{Code, Digest, PublicUrl, Timestamp};
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

use super::{id, trust_anchor};

/// When everything here is judged.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const RP: &str = "https://rp.example.com";
pub(super) const TA: &str = "https://ta.example.org";

pub(super) fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

/// An entity with one key, which is always the same.
pub(super) struct Entity {
    pub(super) id: String,
    key: SigningKey,
    pub(super) kid: String,
}

impl Entity {
    pub(super) fn new(id: &str) -> Self {
        Self::with_key(id, id, &format!("key of {id}"))
    }

    /// An entity whose key is made from a seed and has this `kid`.
    pub(super) fn with_key(id: &str, seed: &str, kid: &str) -> Self {
        let key = SigningKey::from_bytes(Digest::of(seed.as_bytes()).as_bytes());
        Self { id: id.to_owned(), key, kid: kid.to_owned() }
    }

    pub(super) fn jwk(&self) -> Value {
        let x = BASE64URL_NOPAD.encode(self.key.verifying_key().as_bytes());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "use": "sig", "x": x })
    }

    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }

    pub(super) fn anchor(&self) -> TrustAnchor {
        trust_anchor(&self.id, &self.jwks())
    }

    /// Any header, any payload.
    pub(super) fn sign_raw(&self, header: &Value, payload: &str) -> String {
        let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let input = format!("{}.{}", part(header.to_string().as_bytes()), part(payload.as_bytes()));
        let signature = part(&self.key.sign(input.as_bytes()).to_bytes());
        format!("{input}.{signature}")
    }

    pub(super) fn header(&self, typ: &str) -> Value {
        json!({ "typ": typ, "alg": "EdDSA", "kid": self.kid })
    }

    pub(super) fn sign(&self, typ: &str, claims: &Value) -> String {
        self.sign_raw(&self.header(typ), &claims.to_string())
    }

    pub(super) fn statement(&self, claims: &Value) -> String {
        self.sign("entity-statement+jwt", claims)
    }

    /// Claims of its configuration.
    pub(super) fn own(&self, hints: &[&str]) -> Value {
        let mut claims = json!({
            "iss": self.id, "sub": self.id, "iat": NOW - 60, "exp": NOW + 3600, "jwks": self.jwks(),
            "metadata": {
                "federation_entity": { "federation_fetch_endpoint": format!("{}/fetch", self.id) },
                "openid_relying_party": { "redirect_uris": ["https://rp.example.com/cb"], "grant_types": ["authorization_code"] },
            },
        });
        if !hints.is_empty() {
            claims["authority_hints"] = json!(hints);
        }
        claims
    }

    pub(super) fn configuration(&self, hints: &[&str]) -> String {
        self.statement(&self.own(hints))
    }

    /// Claims of its statement about another.
    pub(super) fn of(&self, subordinate: &Self) -> Value {
        json!({ "iss": self.id, "sub": subordinate.id, "iat": NOW - 60, "exp": NOW + 3600, "jwks": subordinate.jwks() })
    }

    pub(super) fn about(&self, subordinate: &Self) -> String {
        self.statement(&self.of(subordinate))
    }
}

/// Claims with some replaced, or taken away by `null`.
pub(super) fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// A subject, an intermediate and an anchor: the chain, the subject's configuration first.
pub(super) struct Three {
    pub(super) rp: Entity,
    pub(super) im: Entity,
    pub(super) ta: Entity,
}

impl Three {
    pub(super) fn new() -> Self {
        Self { rp: Entity::new(RP), im: Entity::new("https://im.example.net"), ta: Entity::new(TA) }
    }

    /// The claims of its four statements.
    pub(super) fn claims(&self) -> [Value; 4] {
        [self.rp.own(&[&self.im.id]), self.im.of(&self.rp), self.ta.of(&self.im), self.ta.own(&[])]
    }

    pub(super) fn sign(&self, claims: &[Value; 4]) -> Vec<String> {
        let [rp, about_rp, about_im, ta] = claims;
        vec![self.rp.statement(rp), self.im.statement(about_rp), self.ta.statement(about_im), self.ta.statement(ta)]
    }

    pub(super) fn chain(&self) -> Vec<String> {
        self.sign(&self.claims())
    }

    /// The web of the same federation.
    pub(super) fn web(&self) -> Web {
        let mut web = Web::default();
        web.entity(&self.rp, &[&self.im]);
        web.entity(&self.im, &[&self.ta]);
        web.entity(&self.ta, &[]);
        web
    }
}

/// Answers by URL. Only what was asked for is answered.
#[derive(Default)]
pub(super) struct Web {
    pub(super) pages: BTreeMap<String, Page>,
    /// In the order in which they were asked for, one list a round.
    asked: RefCell<Vec<Vec<String>>>,
}

/// What a URL has to say.
#[derive(Clone)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: String,
}

impl Page {
    pub(super) fn statement(body: String) -> Self {
        Self { status: 200, content_type: "application/entity-statement+jwt".into(), body }
    }
}

impl Web {
    /// An entity that names its superiors, each of which has something to say about it.
    pub(super) fn entity(&mut self, entity: &Entity, superiors: &[&Entity]) {
        let hints: Vec<&str> = superiors.iter().map(|superior| superior.id.as_str()).collect();
        self.page(&well_known(&entity.id), entity.configuration(&hints));
        for superior in superiors {
            self.page(&fetch(&superior.id, &entity.id), superior.about(entity));
        }
    }

    pub(super) fn page(&mut self, url: &str, statement: String) {
        self.pages.insert(url.to_owned(), Page::statement(statement));
    }

    /// Asks until nothing more is needed. Every URL is asked for once, and no more of them than the budget has.
    #[track_caller]
    pub(super) fn discover(&self, subject: &str, anchors: &[TrustAnchor], options: &Options) -> Discovery {
        self.discover_with(subject, anchors, options, &[])
    }

    #[track_caller]
    pub(super) fn discover_with(
        &self,
        subject: &str,
        anchors: &[TrustAnchor],
        options: &Options,
        supplied: &[String],
    ) -> Discovery {
        let subject = id(subject);
        let query = Query { subject: &subject, anchors, supplied, options, at: now() };
        self.asked.borrow_mut().clear();
        loop {
            match discover(&query, self) {
                Step::Done(discovery) => {
                    assert!(self.requests().len() <= options.budget.fetches, "{:?}", self.requests());
                    // A replay, and the same documents in a process that asks in another order.
                    let again = discover(&query, self);
                    assert!(matches!(again, Step::Done(again) if format!("{again:?}") == format!("{discovery:?}")));
                    return discovery;
                }
                Step::Need(urls) => {
                    let before = self.requests();
                    let urls: Vec<String> = urls.iter().map(|url| url.as_str().to_owned()).collect();
                    assert!(urls.iter().all(|url| !before.contains(url)), "asked twice: {urls:?}, {before:?}");
                    self.asked.borrow_mut().push(urls);
                }
            }
        }
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.asked.borrow().concat()
    }

    pub(super) fn rounds(&self) -> usize {
        self.asked.borrow().len()
    }
}

impl Answers for Web {
    fn answer(&self, url: &PublicUrl) -> Answer<'_> {
        if !self.asked.borrow().iter().flatten().any(|asked| asked == url.as_str()) {
            return Answer::Pending;
        }
        match self.pages.get(url.as_str()) {
            None => Answer::Unreachable("no such host"),
            Some(page) if page.status == 200 => {
                Answer::Body { bytes: page.body.as_bytes(), content_type: Some(&page.content_type) }
            }
            Some(page) => Answer::Status(page.status),
        }
    }
}

pub(super) fn well_known(id: &str) -> String {
    format!("{}/.well-known/openid-federation", id.strip_suffix('/').unwrap_or(id))
}

pub(super) fn fetch(superior: &str, subordinate: &str) -> String {
    EntityId::parse(subordinate).unwrap().statement_url(&format!("{superior}/fetch")).unwrap().as_str().to_owned()
}

/// The issuers of each chain's statements.
pub(super) fn issuers(discovery: &Discovery) -> Vec<Vec<String>> {
    let of = |entity: &countersign::judge::federation::ResolvedEntity| {
        entity.links().iter().map(|link| link.issuer.as_str().to_owned()).collect()
    };
    discovery.chains.iter().map(of).collect()
}

/// A set of keys, for a single token.
pub(super) struct Keys(KeySet);

impl Keys {
    pub(super) fn parse(set: &Value) -> Self {
        Self(KeySet::parse(set.to_string().as_bytes()).unwrap())
    }

    /// Whether the key that a token names signed it.
    pub(super) fn verify(&self, token: &str, typ: &str) -> Result<(), Code> {
        let token = UnverifiedJws::parse(token).map_err(|refusal| refusal.code)?;
        let key = self.0.find(token.claimed_kid()).ok_or(Code::JoseKid)?;
        let token = token.verify(key, &Algorithm::ALL).map_err(|refusal| refusal.code)?;
        assert_eq!(token.typ(), Some(typ));
        Ok(())
    }
}
