//! The messages that clients send, as tables: numbers as in Kubernetes' `generated.proto`, names as in its JSON.

use super::wire::{Field, Message, Shape};

/// The envelope of every body.
pub static UNKNOWN: Message = Message {
    fields: &[
        message(
            1,
            "typeMeta",
            &Message {
                fields: &[text(1, "apiVersion"), text(2, "kind")],
            },
        ),
        field(UNKNOWN_RAW, "raw", Shape::Skipped),
    ],
};

/// The number of the envelope's field with the object's own bytes.
pub const UNKNOWN_RAW: u32 = 2;

/// The message of a kind.
pub fn find(api_version: &str, kind: &str) -> Option<&'static Message> {
    // Clients write DeleteOptions under the version of whatever they delete.
    if kind == "DeleteOptions" {
        return Some(&DELETE_OPTIONS);
    }
    Some(match (api_version, kind) {
        ("v1", "Namespace") => &NAMESPACE,
        ("v1", "ConfigMap") => &CONFIG_MAP,
        ("v1", "Secret") => &SECRET,
        ("v1", "ServiceAccount") => &SERVICE_ACCOUNT,
        ("v1", "Event") => &CORE_EVENT,
        ("events.k8s.io/v1", "Event") => &EVENTS_GROUP_EVENT,
        ("coordination.k8s.io/v1", "Lease") => &LEASE,
        ("authentication.k8s.io/v1", "TokenRequest") => &TOKEN_REQUEST,
        ("authentication.k8s.io/v1", "TokenReview") => &TOKEN_REVIEW,
        ("authentication.k8s.io/v1", "SelfSubjectReview") => &SELF_SUBJECT_REVIEW,
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => &ACCESS_REVIEW,
        ("authorization.k8s.io/v1", "SubjectAccessReview" | "LocalSubjectAccessReview") => &ACCESS_REVIEW,
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => &SELF_SUBJECT_RULES_REVIEW,
        ("rbac.authorization.k8s.io/v1", "Role" | "ClusterRole") => &ROLE,
        ("rbac.authorization.k8s.io/v1", "RoleBinding" | "ClusterRoleBinding") => &ROLE_BINDING,
        _ => return None,
    })
}

const fn field(number: u32, name: &'static str, shape: Shape) -> Field {
    Field {
        number,
        name,
        shape,
        repeated: false,
        pointer: false,
    }
}

const fn text(number: u32, name: &'static str) -> Field {
    field(number, name, Shape::Text)
}

const fn texts(number: u32, name: &'static str) -> Field {
    Field {
        number,
        name,
        shape: Shape::Text,
        repeated: true,
        pointer: false,
    }
}

const fn int(number: u32, name: &'static str) -> Field {
    field(number, name, Shape::Int)
}

const fn time(number: u32, name: &'static str) -> Field {
    field(number, name, Shape::Time)
}

const fn micro_time(number: u32, name: &'static str) -> Field {
    field(number, name, Shape::MicroTime)
}

const fn message(number: u32, name: &'static str, message: &'static Message) -> Field {
    field(number, name, Shape::Message(message))
}

const fn messages(number: u32, name: &'static str, message: &'static Message) -> Field {
    Field {
        number,
        name,
        shape: Shape::Message(message),
        repeated: true,
        pointer: false,
    }
}

/// The same field, as a pointer in Go.
const fn pointer(field: Field) -> Field {
    Field {
        number: field.number,
        name: field.name,
        shape: field.shape,
        repeated: field.repeated,
        pointer: true,
    }
}

const METADATA: Field = message(1, "metadata", &OBJECT_META);

static OBJECT_META: Message = Message {
    fields: &[
        text(1, "name"),
        text(2, "generateName"),
        text(3, "namespace"),
        text(4, "selfLink"),
        text(5, "uid"),
        text(6, "resourceVersion"),
        int(7, "generation"),
        time(8, "creationTimestamp"),
        time(9, "deletionTimestamp"),
        pointer(int(10, "deletionGracePeriodSeconds")),
        field(11, "labels", Shape::TextMap),
        field(12, "annotations", Shape::TextMap),
        messages(13, "ownerReferences", &OWNER_REFERENCE),
        texts(14, "finalizers"),
        messages(17, "managedFields", &MANAGED_FIELDS_ENTRY),
    ],
};

static OWNER_REFERENCE: Message = Message {
    fields: &[
        text(5, "apiVersion"),
        text(1, "kind"),
        text(3, "name"),
        text(4, "uid"),
        pointer(field(6, "controller", Shape::Bool)),
        pointer(field(7, "blockOwnerDeletion", Shape::Bool)),
    ],
};

static MANAGED_FIELDS_ENTRY: Message = Message {
    fields: &[
        text(1, "manager"),
        text(2, "operation"),
        text(3, "apiVersion"),
        time(4, "time"),
        text(6, "fieldsType"),
        field(7, "fieldsV1", Shape::RawJson),
        text(8, "subresource"),
    ],
};

static CONDITION: Message = Message {
    fields: &[
        text(1, "type"),
        text(2, "status"),
        time(4, "lastTransitionTime"),
        text(5, "reason"),
        text(6, "message"),
    ],
};

static NAMESPACE: Message = Message {
    fields: &[
        METADATA,
        message(
            2,
            "spec",
            &Message {
                fields: &[texts(1, "finalizers")],
            },
        ),
        message(
            3,
            "status",
            &Message {
                fields: &[text(1, "phase"), messages(2, "conditions", &CONDITION)],
            },
        ),
    ],
};

static CONFIG_MAP: Message = Message {
    fields: &[
        METADATA,
        field(2, "data", Shape::TextMap),
        field(3, "binaryData", Shape::BytesMap),
        pointer(field(4, "immutable", Shape::Bool)),
    ],
};

static SECRET: Message = Message {
    fields: &[
        METADATA,
        field(2, "data", Shape::BytesMap),
        text(3, "type"),
        field(4, "stringData", Shape::TextMap),
        pointer(field(5, "immutable", Shape::Bool)),
    ],
};

static SERVICE_ACCOUNT: Message = Message {
    fields: &[
        METADATA,
        messages(2, "secrets", &OBJECT_REFERENCE),
        messages(
            3,
            "imagePullSecrets",
            &Message {
                fields: &[text(1, "name")],
            },
        ),
        pointer(field(4, "automountServiceAccountToken", Shape::Bool)),
    ],
};

static OBJECT_REFERENCE: Message = Message {
    fields: &[
        text(1, "kind"),
        text(2, "namespace"),
        text(3, "name"),
        text(4, "uid"),
        text(5, "apiVersion"),
        text(6, "resourceVersion"),
        text(7, "fieldPath"),
    ],
};

static EVENT_SERIES: Message = Message {
    fields: &[int(1, "count"), micro_time(2, "lastObservedTime")],
};

static EVENT_SOURCE: Message = Message {
    fields: &[text(1, "component"), text(2, "host")],
};

static CORE_EVENT: Message = Message {
    fields: &[
        METADATA,
        message(2, "involvedObject", &OBJECT_REFERENCE),
        text(3, "reason"),
        text(4, "message"),
        message(5, "source", &EVENT_SOURCE),
        time(6, "firstTimestamp"),
        time(7, "lastTimestamp"),
        int(8, "count"),
        text(9, "type"),
        micro_time(10, "eventTime"),
        pointer(message(11, "series", &EVENT_SERIES)),
        text(12, "action"),
        pointer(message(13, "related", &OBJECT_REFERENCE)),
        text(14, "reportingComponent"),
        text(15, "reportingInstance"),
    ],
};

static EVENTS_GROUP_EVENT: Message = Message {
    fields: &[
        METADATA,
        micro_time(2, "eventTime"),
        pointer(message(3, "series", &EVENT_SERIES)),
        text(4, "reportingController"),
        text(5, "reportingInstance"),
        text(6, "action"),
        text(7, "reason"),
        message(8, "regarding", &OBJECT_REFERENCE),
        pointer(message(9, "related", &OBJECT_REFERENCE)),
        text(10, "note"),
        text(11, "type"),
        message(12, "deprecatedSource", &EVENT_SOURCE),
        time(13, "deprecatedFirstTimestamp"),
        time(14, "deprecatedLastTimestamp"),
        int(15, "deprecatedCount"),
    ],
};

static LEASE: Message = Message {
    fields: &[
        METADATA,
        message(
            2,
            "spec",
            &Message {
                fields: &[
                    pointer(text(1, "holderIdentity")),
                    pointer(int(2, "leaseDurationSeconds")),
                    micro_time(3, "acquireTime"),
                    micro_time(4, "renewTime"),
                    pointer(int(5, "leaseTransitions")),
                    pointer(text(6, "strategy")),
                    pointer(text(7, "preferredHolder")),
                ],
            },
        ),
    ],
};

static DELETE_OPTIONS: Message = Message {
    fields: &[
        pointer(int(1, "gracePeriodSeconds")),
        pointer(message(
            2,
            "preconditions",
            &Message {
                fields: &[pointer(text(1, "uid")), pointer(text(2, "resourceVersion"))],
            },
        )),
        pointer(field(3, "orphanDependents", Shape::Bool)),
        pointer(text(4, "propagationPolicy")),
        texts(5, "dryRun"),
        pointer(field(
            6,
            "ignoreStoreReadErrorWithClusterBreakingPotential",
            Shape::Bool,
        )),
    ],
};

static TOKEN_REQUEST: Message = Message {
    fields: &[
        METADATA,
        message(
            2,
            "spec",
            &Message {
                fields: &[
                    texts(1, "audiences"),
                    pointer(int(4, "expirationSeconds")),
                    pointer(message(
                        3,
                        "boundObjectRef",
                        &Message {
                            fields: &[
                                text(1, "kind"),
                                text(2, "apiVersion"),
                                text(3, "name"),
                                text(4, "uid"),
                            ],
                        },
                    )),
                ],
            },
        ),
        message(
            3,
            "status",
            &Message {
                fields: &[text(1, "token"), time(2, "expirationTimestamp")],
            },
        ),
    ],
};

static TOKEN_REVIEW: Message = Message {
    fields: &[
        METADATA,
        message(
            2,
            "spec",
            &Message {
                fields: &[text(1, "token"), texts(2, "audiences")],
            },
        ),
    ],
};

/// It has a status only, which is the answer.
static SELF_SUBJECT_REVIEW: Message = Message { fields: &[METADATA] };

/// The three access reviews: the subject is absent where it is the caller.
static ACCESS_REVIEW: Message = Message {
    fields: &[
        METADATA,
        message(
            2,
            "spec",
            &Message {
                fields: &[
                    pointer(message(1, "resourceAttributes", &RESOURCE_ATTRIBUTES)),
                    pointer(message(
                        2,
                        "nonResourceAttributes",
                        &Message {
                            fields: &[text(1, "path"), text(2, "verb")],
                        },
                    )),
                    text(3, "user"),
                    texts(4, "groups"),
                    field(5, "extra", Shape::TextsMap),
                    text(6, "uid"),
                ],
            },
        ),
        message(
            3,
            "status",
            &Message {
                fields: &[
                    field(1, "allowed", Shape::Bool),
                    field(4, "denied", Shape::Bool),
                    text(2, "reason"),
                    text(3, "evaluationError"),
                ],
            },
        ),
    ],
};

static RESOURCE_ATTRIBUTES: Message = Message {
    fields: &[
        text(1, "namespace"),
        text(2, "verb"),
        text(3, "group"),
        text(4, "version"),
        text(5, "resource"),
        text(6, "subresource"),
        text(7, "name"),
    ],
};

static SELF_SUBJECT_RULES_REVIEW: Message = Message {
    fields: &[
        METADATA,
        message(
            2,
            "spec",
            &Message {
                fields: &[text(1, "namespace")],
            },
        ),
        message(3, "status", &Message { fields: &[] }),
    ],
};

static ROLE: Message = Message {
    fields: &[
        METADATA,
        messages(
            2,
            "rules",
            &Message {
                fields: &[
                    texts(1, "verbs"),
                    texts(2, "apiGroups"),
                    texts(3, "resources"),
                    texts(4, "resourceNames"),
                    texts(5, "nonResourceURLs"),
                ],
            },
        ),
        pointer(message(
            3,
            "aggregationRule",
            &Message {
                fields: &[messages(1, "clusterRoleSelectors", &LABEL_SELECTOR)],
            },
        )),
    ],
};

static LABEL_SELECTOR: Message = Message {
    fields: &[
        field(1, "matchLabels", Shape::TextMap),
        messages(
            2,
            "matchExpressions",
            &Message {
                fields: &[text(1, "key"), text(2, "operator"), texts(3, "values")],
            },
        ),
    ],
};

static ROLE_BINDING: Message = Message {
    fields: &[
        METADATA,
        messages(
            2,
            "subjects",
            &Message {
                fields: &[
                    text(1, "kind"),
                    text(2, "apiGroup"),
                    text(3, "name"),
                    text(4, "namespace"),
                ],
            },
        ),
        message(
            3,
            "roleRef",
            &Message {
                fields: &[text(1, "apiGroup"), text(2, "kind"), text(3, "name")],
            },
        ),
    ],
};
