//! The field numbers of `generated.proto` in k8s.io/api and k8s.io/apimachinery, which never change.

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holds {
    Text,
    Integer,
    Boolean,
    /// A list of texts.
    Texts,
    /// A map of texts to texts.
    TextMap,
    /// A map of texts to bytes, which JSON holds in base64.
    BytesMap,
    Message(&'static Message),
    Messages(&'static Message),
    /// `meta/v1.Time`.
    Time,
    /// `intstr.IntOrString`.
    NumberOrText,
    /// Of no interest: said by the server alone.
    Ignored,
}

/// A message: its name and its fields, by number and JSON name.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) name: &'static str,
    pub(super) fields: &'static [(u64, &'static str, Holds)],
}

const OWNER: Message = Message {
    name: "OwnerReference",
    fields: &[
        (1, "kind", Holds::Text),
        (3, "name", Holds::Text),
        (4, "uid", Holds::Text),
        (5, "apiVersion", Holds::Text),
        (6, "controller", Holds::Boolean),
        (7, "blockOwnerDeletion", Holds::Boolean),
    ],
};
const METADATA: Message = Message {
    name: "ObjectMeta",
    fields: &[
        (1, "name", Holds::Text),
        (2, "generateName", Holds::Text),
        (3, "namespace", Holds::Text),
        (4, "selfLink", Holds::Ignored),
        (5, "uid", Holds::Text),
        (6, "resourceVersion", Holds::Text),
        (7, "generation", Holds::Integer),
        (8, "creationTimestamp", Holds::Time),
        (9, "deletionTimestamp", Holds::Time),
        (10, "deletionGracePeriodSeconds", Holds::Integer),
        (11, "labels", Holds::TextMap),
        (12, "annotations", Holds::TextMap),
        (13, "ownerReferences", Holds::Messages(&OWNER)),
        (14, "finalizers", Holds::Texts),
        (17, "managedFields", Holds::Ignored),
    ],
};
const NAMESPACE: Message = Message {
    name: "Namespace",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (
            2,
            "spec",
            Holds::Message(&Message { name: "NamespaceSpec", fields: &[(1, "finalizers", Holds::Texts)] }),
        ),
        (3, "status", Holds::Ignored),
    ],
};
const CONFIG_MAP: Message = Message {
    name: "ConfigMap",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "data", Holds::TextMap),
        (3, "binaryData", Holds::BytesMap),
        (4, "immutable", Holds::Boolean),
    ],
};
const SECRET: Message = Message {
    name: "Secret",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "data", Holds::BytesMap),
        (3, "type", Holds::Text),
        (4, "stringData", Holds::TextMap),
        (5, "immutable", Holds::Boolean),
    ],
};
const SERVICE_PORT: Message = Message {
    name: "ServicePort",
    fields: &[
        (1, "name", Holds::Text),
        (2, "protocol", Holds::Text),
        (3, "port", Holds::Integer),
        (4, "targetPort", Holds::NumberOrText),
        (5, "nodePort", Holds::Integer),
        (6, "appProtocol", Holds::Text),
    ],
};
const SERVICE_SPEC: Message = Message {
    name: "ServiceSpec",
    fields: &[
        (1, "ports", Holds::Messages(&SERVICE_PORT)),
        (2, "selector", Holds::TextMap),
        (3, "clusterIP", Holds::Text),
        (4, "type", Holds::Text),
        (5, "externalIPs", Holds::Texts),
        (7, "sessionAffinity", Holds::Text),
        (8, "loadBalancerIP", Holds::Text),
        (9, "loadBalancerSourceRanges", Holds::Texts),
        (10, "externalName", Holds::Text),
        (11, "externalTrafficPolicy", Holds::Text),
        (12, "healthCheckNodePort", Holds::Integer),
        (13, "publishNotReadyAddresses", Holds::Boolean),
        (17, "ipFamilyPolicy", Holds::Text),
        (18, "clusterIPs", Holds::Texts),
        (19, "ipFamilies", Holds::Texts),
        (20, "allocateLoadBalancerNodePorts", Holds::Boolean),
        (21, "loadBalancerClass", Holds::Text),
        (22, "internalTrafficPolicy", Holds::Text),
        (23, "trafficDistribution", Holds::Text),
    ],
};
const SERVICE: Message = Message {
    name: "Service",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "spec", Holds::Message(&SERVICE_SPEC)),
        (3, "status", Holds::Ignored),
    ],
};
const SUBJECT: Message = Message {
    name: "Subject",
    fields: &[
        (1, "kind", Holds::Text),
        (2, "apiGroup", Holds::Text),
        (3, "name", Holds::Text),
        (4, "namespace", Holds::Text),
    ],
};
const ROLE_REF: Message = Message {
    name: "RoleRef",
    fields: &[(1, "apiGroup", Holds::Text), (2, "kind", Holds::Text), (3, "name", Holds::Text)],
};
const BINDING: &[(u64, &str, Holds)] = &[
    (1, "metadata", Holds::Message(&METADATA)),
    (2, "subjects", Holds::Messages(&SUBJECT)),
    (3, "roleRef", Holds::Message(&ROLE_REF)),
];
const ROLE_BINDING: Message = Message { name: "RoleBinding", fields: BINDING };
const CLUSTER_ROLE_BINDING: Message = Message { name: "ClusterRoleBinding", fields: BINDING };
const TOKEN_SPEC: Message = Message {
    name: "TokenRequestSpec",
    fields: &[
        (1, "audiences", Holds::Texts),
        (3, "boundObjectRef", Holds::Message(&BOUND_OBJECT)),
        (4, "expirationSeconds", Holds::Integer),
    ],
};
const BOUND_OBJECT: Message = Message {
    name: "BoundObjectReference",
    fields: &[
        (1, "kind", Holds::Text),
        (2, "apiVersion", Holds::Text),
        (3, "name", Holds::Text),
        (4, "uid", Holds::Text),
    ],
};
const TOKEN_REQUEST: Message = Message {
    name: "TokenRequest",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "spec", Holds::Message(&TOKEN_SPEC)),
        (3, "status", Holds::Ignored),
    ],
};
const RESOURCE_ATTRIBUTES: Message = Message {
    name: "ResourceAttributes",
    fields: &[
        (1, "namespace", Holds::Text),
        (2, "verb", Holds::Text),
        (3, "group", Holds::Text),
        (4, "version", Holds::Text),
        (5, "resource", Holds::Text),
        (6, "subresource", Holds::Text),
        (7, "name", Holds::Text),
        (8, "fieldSelector", Holds::Ignored),
        (9, "labelSelector", Holds::Ignored),
    ],
};
const PATH_ATTRIBUTES: Message =
    Message { name: "NonResourceAttributes", fields: &[(1, "path", Holds::Text), (2, "verb", Holds::Text)] };
const ACCESS_SPEC: Message = Message {
    name: "SelfSubjectAccessReviewSpec",
    fields: &[
        (1, "resourceAttributes", Holds::Message(&RESOURCE_ATTRIBUTES)),
        (2, "nonResourceAttributes", Holds::Message(&PATH_ATTRIBUTES)),
    ],
};
const ACCESS_REVIEW: Message = Message {
    name: "SelfSubjectAccessReview",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "spec", Holds::Message(&ACCESS_SPEC)),
        (3, "status", Holds::Ignored),
    ],
};
const RULES_SPEC: Message =
    Message { name: "SelfSubjectRulesReviewSpec", fields: &[(1, "namespace", Holds::Text)] };
const RULES_REVIEW: Message = Message {
    name: "SelfSubjectRulesReview",
    fields: &[
        (1, "metadata", Holds::Message(&METADATA)),
        (2, "spec", Holds::Message(&RULES_SPEC)),
        (3, "status", Holds::Ignored),
    ],
};
const SUBJECT_REVIEW: Message = Message {
    name: "SelfSubjectReview",
    fields: &[(1, "metadata", Holds::Message(&METADATA)), (2, "status", Holds::Ignored)],
};
const PRECONDITIONS: Message = Message {
    name: "Preconditions",
    fields: &[(1, "uid", Holds::Text), (2, "resourceVersion", Holds::Text)],
};
const DELETE_OPTIONS: Message = Message {
    name: "DeleteOptions",
    fields: &[
        (1, "gracePeriodSeconds", Holds::Integer),
        (2, "preconditions", Holds::Message(&PRECONDITIONS)),
        (3, "orphanDependents", Holds::Boolean),
        (4, "propagationPolicy", Holds::Text),
        (5, "dryRun", Holds::Texts),
        (6, "ignoreStoreReadErrorWithClusterBreakingPotential", Holds::Ignored),
    ],
};
/// What is read.
pub(super) const KINDS: [&Message; 11] = [
    &NAMESPACE,
    &CONFIG_MAP,
    &SECRET,
    &SERVICE,
    &ROLE_BINDING,
    &CLUSTER_ROLE_BINDING,
    &TOKEN_REQUEST,
    &ACCESS_REVIEW,
    &RULES_REVIEW,
    &SUBJECT_REVIEW,
    &DELETE_OPTIONS,
];
