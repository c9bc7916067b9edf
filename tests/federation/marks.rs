//! Trust marks: issuers, owners, delegations and status answers.

use countersign::judge::federation::trust_mark::{MarkStatus, TrustMark};
use countersign::judge::federation::{
    Compatibility, Leniency, Options, ResolvedEntity, TrustAnchor, TrustMarkEntry, verify_chain,
};
use countersign::values::{Code, Timestamp};
use serde_json::{Value, json};

use super::id;
use super::made::{Entity, NOW, RP, TA, now, with};

const TYPE: &str = "https://marks.example/certified";

/// A subject, an issuer of marks and an owner of their type, all under one anchor.
struct Federation {
    rp: Entity,
    issuer: Entity,
    owner: Entity,
    ta: Entity,
    /// Of the anchor's configuration.
    rules: Value,
}

impl Federation {
    fn new() -> Self {
        let issuer = Entity::new("https://issuer.example.net");
        let rules = json!({ "trust_mark_issuers": { TYPE: [issuer.id] } });
        Self { rp: Entity::new(RP), issuer, owner: Entity::new("https://owner.example.net"), ta: Entity::new(TA), rules }
    }

    fn anchor(&self) -> TrustAnchor {
        self.ta.anchor()
    }

    fn resolve(&self, entity: &Entity, with_anchor: bool) -> ResolvedEntity {
        let mut chain = vec![entity.configuration(&[TA]), self.ta.about(entity)];
        if with_anchor {
            chain.push(self.ta.statement(&with(self.ta.own(&[]), &self.rules)));
        }
        verify_chain(&chain, &id(&entity.id), &[self.anchor()], &Options::default(), now()).unwrap()
    }

    fn claims(&self) -> Value {
        json!({ "iss": self.issuer.id, "sub": RP, "trust_mark_type": TYPE, "iat": NOW - 60, "exp": NOW + 60 })
    }

    fn mark(&self, changes: &Value) -> TrustMarkEntry {
        entry(self.issuer.sign("trust-mark+jwt", &with(self.claims(), changes)))
    }

    /// The owner of the type is named, and delegates it to the issuer.
    fn owned(mut self) -> Self {
        self.rules["trust_mark_owners"] = json!({ TYPE: { "sub": self.owner.id, "jwks": self.owner.jwks() } });
        self
    }

    fn delegation(&self, changes: &Value) -> Value {
        let claims = json!({ "iss": self.owner.id, "sub": self.issuer.id, "trust_mark_type": TYPE, "iat": NOW - 60 });
        json!({ "delegation": self.owner.sign("trust-mark-delegation+jwt", &with(claims, changes)) })
    }

    fn verify(&self, entry: &TrustMarkEntry) -> Result<TrustMark, Code> {
        let (subject, issuer) = (self.resolve(&self.rp, true), self.resolve(&self.issuer, true));
        TrustMark::verify(entry, &subject, &issuer, &self.anchor(), &Options::default(), now()).map_err(|refusal| refusal.code)
    }

    #[track_caller]
    fn check(&self, entry: &TrustMarkEntry, expect: Result<(), Code>) {
        assert_eq!(self.verify(entry).map(|mark| assert_eq!(mark.mark_type(), TYPE)), expect);
    }
}

fn entry(mark: String) -> TrustMarkEntry {
    TrustMarkEntry { mark_type: TYPE.into(), mark }
}

const REFUSED: Result<(), Code> = Err(Code::FederationTrustMark);

#[test]
fn row_29_marks() {
    let mut federation = Federation::new();
    federation.check(&federation.mark(&json!({})), Ok(()));
    federation.check(&federation.mark(&json!({ "exp": null })), Ok(()));
    federation.check(&federation.mark(&json!({ "exp": NOW - 60 })), REFUSED);
    federation.check(&federation.mark(&json!({ "iat": NOW + 61 })), REFUSED);
    federation.check(&federation.mark(&json!({ "iat": null })), Err(Code::FederationStatement));
    federation.check(&federation.mark(&json!({ "sub": "https://other.example.com" })), REFUSED);
    federation.check(&federation.mark(&json!({ "sub": "https://rp.example.com/" })), REFUSED);
    federation.check(&federation.mark(&json!({ "iss": TA })), REFUSED);
    federation.check(&federation.mark(&json!({ "trust_mark_type": "https://marks.example/other" })), REFUSED);
    federation.check(&federation.mark(&json!({ "trust_mark_type": null, "id": TYPE })), Err(Code::FederationStatement));
    // Another token of the issuer; a key that is none of its.
    let claims = federation.claims();
    federation.check(&entry(federation.issuer.sign("entity-statement+jwt", &claims)), Err(Code::FederationType));
    federation.check(
        &entry(federation.issuer.sign_raw(&json!({ "alg": "EdDSA", "kid": "k" }), &claims.to_string())),
        Err(Code::FederationType),
    );
    federation.check(&entry(federation.owner.sign("trust-mark+jwt", &claims)), Err(Code::JoseKid));
    let forger = Entity::with_key(&federation.issuer.id, "other", &federation.issuer.kid);
    federation.check(&entry(forger.sign("trust-mark+jwt", &claims)), Err(Code::JoseSignature));
    // Section 3.1.2: an empty list is anyone, a list without the issuer is not, and no list is nobody.
    federation.rules = json!({ "trust_mark_issuers": { TYPE: [] } });
    federation.check(&federation.mark(&json!({})), Ok(()));
    federation.rules = json!({ "trust_mark_issuers": { TYPE: [TA] } });
    federation.check(&federation.mark(&json!({})), REFUSED);
    federation.rules = json!({});
    federation.check(&federation.mark(&json!({})), REFUSED);
    federation.rules = json!({ "trust_mark_issuers": { TYPE: "anyone" } });
    federation.check(&federation.mark(&json!({})), REFUSED);
}

#[test]
fn whose_chains_they_are() {
    let federation = Federation::new();
    let mark = federation.mark(&json!({}));
    let verify = |subject: &ResolvedEntity, issuer: &ResolvedEntity, anchor: &TrustAnchor| {
        TrustMark::verify(&mark, subject, issuer, anchor, &Options::default(), now())
            .map(|_| ())
            .map_err(|refusal| refusal.code)
    };
    let (subject, issuer) = (federation.resolve(&federation.rp, true), federation.resolve(&federation.issuer, true));
    assert_eq!(verify(&subject, &issuer, &federation.anchor()), Ok(()));
    assert_eq!(verify(&subject, &subject, &federation.anchor()), REFUSED);
    assert_eq!(verify(&issuer, &issuer, &federation.anchor()), REFUSED);
    assert_eq!(verify(&federation.resolve(&federation.rp, false), &issuer, &federation.anchor()), REFUSED);
    let other = Entity::new("https://other.example.org").anchor();
    assert_eq!(verify(&subject, &issuer, &other), REFUSED);
    assert_eq!(TrustMark::claimed_issuer(&mark).unwrap().as_str(), federation.issuer.id);
}

#[test]
fn row_29_delegations() {
    let federation = Federation::new().owned();
    let delegated = |changes: &Value| federation.mark(&federation.delegation(changes));
    assert_eq!(federation.verify(&delegated(&json!({}))).unwrap().delegated_by(), Some("https://owner.example.net"));
    federation.check(&federation.mark(&json!({})), REFUSED);
    federation.check(&federation.mark(&json!({ "delegation": 7 })), REFUSED);
    federation.check(&delegated(&json!({ "iss": TA })), REFUSED);
    federation.check(&delegated(&json!({ "sub": RP })), REFUSED);
    federation.check(&delegated(&json!({ "trust_mark_type": "https://marks.example/other" })), REFUSED);
    federation.check(&delegated(&json!({ "exp": NOW - 60 })), REFUSED);
    federation.check(&delegated(&json!({ "exp": NOW + 60 })), Ok(()));
    // Of the issuer itself, in the owner's name.
    let claims = json!({ "iss": federation.owner.id, "sub": federation.issuer.id, "trust_mark_type": TYPE, "iat": NOW });
    let own = federation.issuer.sign("trust-mark-delegation+jwt", &claims);
    federation.check(&federation.mark(&json!({ "delegation": own })), Err(Code::JoseKid));
    let other = federation.owner.sign("trust-mark+jwt", &claims);
    federation.check(&federation.mark(&json!({ "delegation": other })), Err(Code::FederationType));
    // A delegation that nobody can verify is none that may be ignored.
    let unowned = Federation::new();
    unowned.check(&unowned.mark(&unowned.delegation(&json!({}))), REFUSED);
}

#[test]
fn the_older_name_of_the_type() {
    let federation = Federation::new();
    let (subject, issuer) = (federation.resolve(&federation.rp, true), federation.resolve(&federation.issuer, true));
    let compatibility: Compatibility = [Leniency::TrustMarkId].into_iter().collect();
    let lenient = TrustAnchor { compatibility, ..federation.anchor() };
    let mark = federation.mark(&json!({ "trust_mark_type": null, "id": TYPE }));
    assert!(TrustMark::verify(&mark, &subject, &issuer, &lenient, &Options::default(), now()).is_ok());
}

#[test]
fn row_30_status_answers() {
    let federation = Federation::new();
    let mark = federation.mark(&json!({}));
    let verified = federation.verify(&mark).unwrap();
    let issuer = federation.resolve(&federation.issuer, true);
    let claims = json!({ "iss": federation.issuer.id, "iat": NOW - 10, "trust_mark": mark.mark, "status": "active" });
    let status = |signer: &Entity, typ: &str, changes: &Value| {
        let answer = signer.sign(typ, &with(claims.clone(), changes));
        let oldest = Timestamp::from_secs(NOW - 300);
        verified.status(&answer, &issuer, &Options::default(), oldest, now()).map_err(|refusal| refusal.code)
    };
    const STATUS: &str = "trust-mark-status-response+jwt";
    let signer = &federation.issuer;
    assert_eq!(status(signer, STATUS, &json!({})), Ok(MarkStatus::Active));
    for other in ["expired", "revoked", "invalid", "suspended", "Active", ""] {
        let answer = status(signer, STATUS, &json!({ "status": other }));
        assert_eq!(answer, Ok(MarkStatus::Inactive(other.into())));
    }
    assert_eq!(status(signer, STATUS, &json!({ "status": null })), Err(Code::FederationStatement));
    assert_eq!(status(signer, STATUS, &json!({ "iat": NOW - 301 })), Err(Code::FederationTrustMark));
    assert_eq!(status(signer, STATUS, &json!({ "iss": TA })), Err(Code::FederationTrustMark));
    let other = federation.mark(&json!({ "exp": NOW + 61 })).mark;
    assert_eq!(status(signer, STATUS, &json!({ "trust_mark": other })), Err(Code::FederationTrustMark));
    assert_eq!(status(&federation.rp, STATUS, &json!({})), Err(Code::JoseKid));
    // The mark itself is no answer about it.
    assert_eq!(status(signer, "trust-mark+jwt", &json!({})), Err(Code::FederationType));
}
