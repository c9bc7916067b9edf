//! A list of statements that is to be a trust chain (OpenID Federation sections 4 and 10.2).
//!
//! Keys come down from the anchor's configuration: its keys verify its statements, each statement attests the keys of the next, the
//! last those of the subject. A key that an entity claims for itself counts only if its superior attests the same.

use crate::values::json::{Json, Object};
use crate::values::{Code, Timestamp};

use super::super::finding::{Check, Finding, Refusal};
use super::super::jwk::Jwk;
use super::entity_id::EntityId;
use super::leniency::Leniency;
use super::policy::{MetadataPolicy, PolicyError};
use super::resolved::{Link, MarkRules, ResolvedEntity};
use super::signatures::Signatures;
use super::statement::{Body, UnverifiedStatement};
use super::{Options, TrustAnchor};

type Statement<'a> = UnverifiedStatement<'a>;

/// Verifies a chain as it was given, the subject's configuration first, for the configured anchor that it ends at.
///
/// # Errors
/// The first rule that does not hold.
pub fn verify_chain(
    chain: &[String],
    subject: &EntityId,
    anchors: &[TrustAnchor],
    options: &Options,
    at: Timestamp,
) -> Result<ResolvedEntity, Refusal> {
    // A chain of `depth` statements between two configurations.
    if chain.len() > options.budget.depth.saturating_add(2) {
        return Err(Refusal::new(Code::FederationLimit, Check::FederationChain, too_long(options)));
    }
    let statements = chain.iter().map(|text| UnverifiedStatement::parse(text, &options.understood_claims));
    let statements: Vec<Statement<'_>> = statements.collect::<Result<_, _>>()?;
    let end = statements.last().ok_or_else(|| broken("it is empty"))?;
    let anchor = anchors.iter().find(|anchor| anchor.id == *end.issuer()).ok_or_else(|| {
        let detail = format!("the chain ends at {}, which is no configured trust anchor", end.issuer());
        Refusal::new(Code::FederationAnchor, Check::FederationChain, detail)
    })?;
    let statements: Vec<&Statement<'_>> = statements.iter().collect();
    let candidate = Candidate { statements: &statements, configurations: &[], subject, anchor };
    candidate.verify(options, at, &mut Signatures::new(options))
}

/// Statements that may be a chain for an anchor.
pub(super) struct Candidate<'c, 'a> {
    /// The subject's configuration first, then upwards; the anchor's configuration last, if it is there.
    pub(super) statements: &'c [&'c Statement<'a>],
    /// Configurations of the intermediates, as far as they are at hand.
    pub(super) configurations: &'c [&'c Statement<'a>],
    pub(super) subject: &'c EntityId,
    pub(super) anchor: &'c TrustAnchor,
}

/// The parts of a list that hangs together.
struct Shape<'c, 'a> {
    configuration: &'c Statement<'a>,
    /// That about the subject first. None when the subject is the anchor itself.
    subordinates: &'c [&'c Statement<'a>],
    anchor_configuration: Option<&'c Statement<'a>>,
}

impl<'c, 'a> Candidate<'c, 'a> {
    pub(super) fn verify(
        &self,
        options: &Options,
        at: Timestamp,
        signatures: &mut Signatures<'_>,
    ) -> Result<ResolvedEntity, Refusal> {
        let mut findings = Vec::new();
        let leniencies = self.check_departures(&mut findings)?;
        for statement in self.statements.iter().chain(self.configurations) {
            check_time(statement, options, at)?;
        }
        findings.push(Finding::held(Check::FederationTime));
        let shape = self.shape(options)?;
        self.check_hints(&shape)?;
        findings.push(Finding::held(Check::FederationChain));
        let signed_by = self.check_keys(&shape, signatures)?;
        findings.push(Finding::held(Check::FederationKeys));
        self.check_constraints(&shape)?;
        findings.push(Finding::held(Check::FederationConstraints));
        let (metadata, policy) = self.resolve_metadata(&shape)?;
        findings.push(Finding::held(Check::FederationPolicy));
        let links = self.statements.iter().zip(signed_by).map(|(statement, key)| link(statement, key)).collect();
        let keys = match shape.subordinates.first() {
            Some(statement) => statement.keys().to_vec(),
            None => self.anchor.keys.iter().cloned().collect(),
        };
        let trust_marks = match &shape.configuration.body {
            Body::Configuration { trust_marks, .. } => trust_marks.clone(),
            Body::Subordinate { .. } => Vec::new(),
        };
        Ok(ResolvedEntity {
            subject: self.subject.clone(),
            anchor: self.anchor.id.clone(),
            links,
            metadata,
            policy: policy.to_json(),
            expires: self.statements.iter().map(|statement| statement.expires()).min().unwrap_or(at),
            keys,
            trust_marks,
            mark_rules: shape.anchor_configuration.and_then(mark_rules),
            findings,
            leniencies,
        })
    }

    /// What the statements have that the Final text does not allow: refused, unless the anchor overlooks it, and then said.
    fn check_departures(&self, findings: &mut Vec<Finding>) -> Result<Vec<Leniency>, Refusal> {
        let mut used = Vec::new();
        for statement in self.statements.iter().chain(self.configurations) {
            for departure in &statement.departures {
                let detail = format!("{}: {}", statement.name(), departure.refusal.detail);
                if !self.anchor.compatibility.overlooks(departure.leniency) {
                    return Err(Refusal { detail, ..departure.refusal.clone() });
                }
                overlook(departure.leniency, &detail, &mut used, findings);
            }
            if let Body::Subordinate { constraints, .. } = &statement.body
                && constraints.leaf_entity_types.is_some()
                && self.anchor.compatibility.overlooks(Leniency::LeafEntityTypes)
            {
                let detail = format!("{}: `allowed_leaf_entity_types` counts", statement.name());
                overlook(Leniency::LeafEntityTypes, &detail, &mut used, findings);
            }
        }
        Ok(used)
    }

    /// Section 4: the order, the links, no entity twice, and the anchor at the end.
    fn shape(&self, options: &Options) -> Result<Shape<'c, 'a>, Refusal> {
        let [configuration, above @ ..] = self.statements else { return Err(broken("it is empty")) };
        if !configuration.is_configuration() {
            return Err(broken("it does not begin with a configuration of the subject"));
        }
        if configuration.subject() != self.subject {
            let detail = format!("the chain is about {}, and {} was asked for", configuration.subject(), self.subject);
            return Err(Refusal::new(Code::FederationOtherEntity, Check::FederationChain, detail));
        }
        let (subordinates, anchor_configuration) = match above {
            [] => (above, Some(*configuration)),
            [subordinates @ .., last] if last.is_configuration() => (subordinates, Some(*last)),
            subordinates => (subordinates, None),
        };
        if subordinates.is_empty() && !above.is_empty() {
            return Err(broken("no superior says anything about the subject"));
        }
        if subordinates.len() > options.budget.depth {
            return Err(Refusal::new(Code::FederationLimit, Check::FederationChain, too_long(options)));
        }
        let mut below = vec![self.subject];
        for statement in subordinates {
            let expected = below.last().copied().unwrap_or(self.subject);
            if statement.is_configuration() || statement.subject() != expected {
                return Err(broken(format!("{} stands where one about {expected} must", statement.name())));
            }
            if below.contains(&statement.issuer()) {
                return Err(broken(format!("{} is in it twice", statement.issuer())));
            }
            below.push(statement.issuer());
        }
        let end = below.last().copied().unwrap_or(self.subject);
        if let Some(configuration) = anchor_configuration
            && configuration.subject() != end
        {
            return Err(broken(format!("{} stands where that of {end} must", configuration.name())));
        }
        if *end != self.anchor.id {
            let detail = format!("the chain ends at {end}, not at the trust anchor {}", self.anchor.id);
            return Err(Refusal::new(Code::FederationAnchor, Check::FederationChain, detail));
        }
        Ok(Shape { configuration, subordinates, anchor_configuration })
    }

    /// Section 3.2, step 6: a superior is one that its subordinate names, as far as the subordinate's configuration is at hand.
    fn check_hints(&self, shape: &Shape<'_, '_>) -> Result<(), Refusal> {
        for statement in shape.subordinates {
            if let Some(configuration) = self.configuration_of(shape, statement.subject())
                && !configuration.authority_hints().contains(statement.issuer())
            {
                let (issuer, subject) = (statement.issuer(), statement.subject());
                return Err(broken(format!("{issuer} is not in the `authority_hints` of {subject}")));
            }
        }
        Ok(())
    }

    fn configuration_of<'s>(&'s self, shape: &Shape<'s, 'a>, entity: &EntityId) -> Option<&'s Statement<'a>> {
        let known = [Some(shape.configuration), shape.anchor_configuration];
        let mut known = known.into_iter().flatten().chain(self.configurations.iter().copied());
        known.find(|configuration| configuration.subject() == entity)
    }

    /// Sections 4 and 10.2: every key from the anchor downwards. Gives the key of each statement, in their order.
    fn check_keys<'s>(&'s self, shape: &Shape<'s, 'a>, signatures: &mut Signatures<'_>) -> Result<Vec<&'s Jwk>, Refusal> {
        let anchor_keys: Vec<&Jwk> = self.anchor.keys.iter().collect();
        let mut attested = anchor_keys.clone();
        let mut signed_by = Vec::new();
        if let Some(configuration) = shape.anchor_configuration {
            signed_by.push(check_configuration(configuration, &attested, signatures)?);
        }
        for statement in shape.subordinates.iter().rev() {
            let issuer = self.configuration_of(shape, statement.issuer());
            // An intermediate's configuration is no part of the chain; it named the superior and the endpoint.
            if let Some(configuration) = issuer.filter(|configuration| *configuration.subject() != self.anchor.id) {
                check_configuration(configuration, &attested, signatures)?;
            }
            let key = attested_key(statement, &attested, issuer)?;
            signatures.check(statement, key)?;
            signed_by.push(key);
            attested = statement.keys().iter().collect();
        }
        if !shape.subordinates.is_empty() {
            signed_by.push(check_configuration(shape.configuration, &attested, signatures)?);
        }
        signed_by.reverse();
        Ok(signed_by)
    }

    fn check_constraints(&self, shape: &Shape<'_, '_>) -> Result<(), Refusal> {
        let refuse = |detail: String| Refusal::new(Code::FederationConstraint, Check::FederationConstraints, detail);
        let intermediates = u64::try_from(shape.subordinates.len().saturating_sub(1)).unwrap_or(u64::MAX);
        if self.anchor.max_path_length.is_some_and(|most| intermediates > most) {
            let detail = format!("{intermediates} intermediates are below the anchor {}, which allows fewer", self.anchor.id);
            return Err(refuse(detail));
        }
        let mut below = Vec::new();
        for statement in shape.subordinates {
            below.push(statement.subject());
            if let Body::Subordinate { constraints, .. } = &statement.body {
                constraints.check(&below).map_err(|why| refuse(format!("{}: {why}", statement.name())))?;
            }
        }
        Ok(())
    }

    /// Section 6.1.4.2: the immediate superior's metadata, then the filter of entity types, then the policies, merged from the
    /// anchor's downwards.
    fn resolve_metadata(&self, shape: &Shape<'_, '_>) -> Result<(Object, MetadataPolicy), Refusal> {
        let mut metadata = shape.configuration.metadata().clone();
        if let Some(superior) = shape.subordinates.first() {
            overridden(&mut metadata, superior.metadata());
        }
        let leaf_types_too = self.anchor.compatibility.overlooks(Leniency::LeafEntityTypes);
        let mut merged = MetadataPolicy::default();
        for statement in shape.subordinates.iter().rev() {
            if let Body::Subordinate { constraints, policy } = &statement.body {
                metadata = constraints.filter(metadata, leaf_types_too);
                merged = merged.merge(policy).map_err(|error| refused_by_policy(&error, &statement.name()))?;
            }
        }
        let resolved = merged.apply(&metadata).map_err(|error| refused_by_policy(&error, "the superiors' policies"))?;
        Ok((resolved, merged))
    }
}

fn check_time(statement: &Statement<'_>, options: &Options, at: Timestamp) -> Result<(), Refusal> {
    let refuse =
        |code, detail: String| Err(Refusal::new(code, Check::FederationTime, format!("{} {detail}", statement.name())));
    let begins = statement.not_before().map_or(statement.issued(), |begins| begins.max(statement.issued()));
    if at.plus(options.skew) < begins {
        return refuse(Code::FederationNotYetValid, format!("begins at {begins}, which is yet to come"));
    }
    let ends = statement.expires();
    if at >= ends.plus(options.skew) {
        return refuse(Code::FederationExpired, format!("ended at {ends}"));
    }
    Ok(())
}

/// A configuration is signed with a key that it has itself and that is attested.
fn check_configuration<'k>(
    configuration: &Statement<'_>,
    attested: &[&'k Jwk],
    signatures: &mut Signatures<'_>,
) -> Result<&'k Jwk, Refusal> {
    let kid = configuration.kid();
    let refuse = |rule: &str| {
        let detail = format!("{}: {rule}", configuration.name());
        Err(Refusal::new(Code::FederationKeyNotAttested, Check::FederationKeys, detail))
    };
    let Some(key) = attested.iter().copied().find(|key| key.kid() == Some(kid)) else {
        return refuse("no key that is attested for it has the `kid` of its header");
    };
    if configuration.key(kid).is_none_or(|own| own.thumbprint() != key.thumbprint()) {
        return refuse("the attested key of its `kid` is not the one in its own `jwks`");
    }
    signatures.check(configuration, key)?;
    Ok(key)
}

/// The key of a subordinate statement: attested, and in its issuer's own configuration if that is at hand (section 3.2, step 11). Of
/// the two, one may be behind the other for a while (section 11.2), which asking again may mend.
fn attested_key<'k>(
    statement: &Statement<'_>,
    attested: &[&'k Jwk],
    issuer: Option<&Statement<'_>>,
) -> Result<&'k Jwk, Refusal> {
    let kid = statement.kid();
    let key = attested.iter().copied().find(|key| key.kid() == Some(kid));
    let own = issuer.and_then(|issuer| issuer.key(kid));
    let rollover = |detail: String| Refusal::transient(Code::FederationKeyRollover, Check::FederationKeys, detail);
    match (key, own) {
        (Some(key), Some(own)) if key.thumbprint() == own.thumbprint() => Ok(key),
        (Some(key), None) if issuer.is_none() => Ok(key),
        (Some(_), _) => Err(rollover(format!("{}: its issuer does not publish the key that signed it", statement.name()))),
        (None, Some(_)) => Err(rollover(format!(
            "{}: its issuer publishes the key that signed it, and nobody above attests it",
            statement.name()
        ))),
        (None, None) => {
            let detail = format!("{}: no key that is attested for its issuer has the `kid` of its header", statement.name());
            Err(Refusal::new(Code::FederationKeyNotAttested, Check::FederationKeys, detail))
        }
    }
}

/// Section 3.1.1: what a superior says of types that the subject has, parameter by parameter.
fn overridden(metadata: &mut Object, superior: &Object) {
    for (entity_type, parameters) in superior.iter() {
        let (Some(Json::Object(own)), Json::Object(parameters)) = (metadata.get(entity_type), parameters) else { continue };
        let mut own = own.clone();
        for (parameter, value) in parameters.iter() {
            own.set(parameter, value.clone());
        }
        metadata.set(entity_type, Json::Object(own));
    }
}

fn refused_by_policy(error: &PolicyError, whose: &str) -> Refusal {
    let code = match error {
        PolicyError::Policy(_) => Code::FederationPolicy,
        PolicyError::Metadata(_) => Code::FederationMetadata,
    };
    Refusal::new(code, Check::FederationPolicy, format!("{whose}: {error}"))
}

fn overlook(leniency: Leniency, detail: &str, used: &mut Vec<Leniency>, findings: &mut Vec<Finding>) {
    findings.push(Finding::not_held(Check::FederationLeniency, format!("{}: {detail}", leniency.name())));
    if !used.contains(&leniency) {
        used.push(leniency);
    }
}

fn mark_rules(configuration: &Statement<'_>) -> Option<MarkRules> {
    let Body::Configuration { mark_issuers, mark_owners, .. } = &configuration.body else { return None };
    Some(MarkRules { issuers: mark_issuers.clone(), owners: mark_owners.clone() })
}

fn link(statement: &Statement<'_>, key: &Jwk) -> Link {
    Link {
        statement: *statement.digest(),
        issuer: statement.issuer().clone(),
        subject: statement.subject().clone(),
        issued: statement.issued(),
        expires: statement.expires(),
        kid: statement.kid().to_owned(),
        algorithm: statement.jws.claimed_algorithm().name(),
        signed_by: *key.thumbprint(),
    }
}

fn broken(rule: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::FederationChain, Check::FederationChain, format!("the trust chain: {rule}"))
}

fn too_long(options: &Options) -> String {
    format!("the chain has more than {} subordinate statements", options.budget.depth)
}
