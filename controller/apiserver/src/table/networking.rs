//! The columns of services and what leads to them, after those that Kubernetes prints.

use jiff::Timestamp;
use serde_json::Value;

use super::builtin::age;
use super::cells::{count, first_three, items, joined, labels, selector, text, text_or};
use super::column::Column;

/// NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE, and SELECTOR in wide output
pub fn service() -> Vec<Column> {
    vec![
        Column::computed("Type", "How it is reached.", |one, _| one["spec"]["type"].clone()),
        Column::computed("Cluster-IP", "Address inside the cluster.", |one, _| {
            text_or(one, "/spec/clusterIP", "<none>")
        }),
        Column::computed("External-IP", "Address outside of the cluster.", external_address),
        Column::computed("Port(s)", "Its ports.", service_ports),
        age(),
        Column::computed("Selector", "Pods that it leads to.", |one, _| {
            labels(&one["spec"]["selector"])
        })
        .wide(),
    ]
}

fn external_address(service: &Value, _: Timestamp) -> Value {
    let own = items(service, "/spec/externalIPs").filter_map(Value::as_str);
    match service["spec"]["type"].as_str() {
        Some("ExternalName") => text(service, "/spec/externalName", ""),
        Some("LoadBalancer") => joined(balancers(service).chain(own), "<pending>"),
        _ => joined(own, "<none>"),
    }
}

/// Addresses or names at which a balancer of load serves it.
fn balancers(object: &Value) -> impl Iterator<Item = &str> {
    items(object, "/status/loadBalancer/ingress")
        .filter_map(|one| one["ip"].as_str().or_else(|| one["hostname"].as_str()))
}

fn service_ports(service: &Value, _: Timestamp) -> Value {
    let texts: Vec<String> = items(service, "/spec/ports")
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match port["nodePort"].as_i64() {
                Some(of_node) if of_node > 0 => format!("{}:{of_node}/{protocol}", port["port"]),
                _ => format!("{}/{protocol}", port["port"]),
            }
        })
        .collect();
    joined(texts.iter().map(String::as_str), "<none>")
}

/// NAME CLASS HOSTS ADDRESS PORTS AGE
pub fn ingress() -> Vec<Column> {
    vec![
        Column::computed("Class", "The class that serves it.", |ingress, _| {
            text(ingress, "/spec/ingressClassName", "<none>")
        }),
        Column::computed("Hosts", "Hosts that it is for.", |ingress, _| {
            let hosts: Vec<String> = items(ingress, "/spec/rules")
                .filter_map(|rule| rule["host"].as_str())
                .filter(|host| !host.is_empty())
                .map(str::to_owned)
                .collect();
            first_three(&hosts, "*")
        }),
        Column::computed("Address", "Where it is served.", |ingress, _| {
            joined(balancers(ingress), "")
        }),
        Column::computed("Ports", "Ports that it is served at.", |ingress, _| {
            if count(&ingress["spec"]["tls"]) > 0 {
                "80, 443"
            } else {
                "80"
            }
            .into()
        }),
        age(),
    ]
}

/// NAME CONTROLLER PARAMETERS AGE
pub fn ingress_class() -> Vec<Column> {
    vec![
        Column::computed("Controller", "Who serves it.", |one, _| {
            text(one, "/spec/controller", "")
        }),
        Column::computed("Parameters", "Its parameters.", |one, _| {
            let parameters = &one["spec"]["parameters"];
            let of = |field: &str| parameters[field].as_str().unwrap_or_default();
            match parameters["apiGroup"].as_str() {
                _ if parameters.is_null() => "<none>".into(),
                Some(group) => format!("{}.{group}/{}", of("kind"), of("name")).into(),
                None => format!("{}/{}", of("kind"), of("name")).into(),
            }
        }),
        age(),
    ]
}

/// NAME POD-SELECTOR AGE
pub fn network_policy() -> Vec<Column> {
    let pods = |policy: &Value, _| selector(&policy["spec"]["podSelector"]);
    vec![
        Column::computed("Pod-Selector", "Pods that it is for.", pods),
        age(),
    ]
}

/// NAME ENDPOINTS AGE
pub fn endpoints() -> Vec<Column> {
    let told = |one: &Value, _| {
        let mut all = Vec::new();
        for subset in items(one, "/subsets") {
            let addresses = || items(subset, "/addresses").filter_map(|address| address["ip"].as_str());
            if count(&subset["ports"]) == 0 {
                all.extend(addresses().map(str::to_owned));
            }
            for port in items(subset, "/ports") {
                all.extend(addresses().map(|address| socket(address, &port["port"])));
            }
        }
        first_three(&all, "<none>")
    };
    vec![Column::computed("Endpoints", "Where it leads.", told), age()]
}

fn socket(address: &str, port: &Value) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

/// NAME ADDRESSTYPE PORTS ENDPOINTS AGE
pub fn endpoint_slice() -> Vec<Column> {
    vec![
        Column::computed("AddressType", "What its addresses are.", |one, _| {
            text(one, "/addressType", "")
        }),
        Column::computed("Ports", "Ports of all its addresses.", |one, _| {
            let ports = items(one, "/ports").map(|port| match port["port"].as_i64() {
                Some(number) => number.to_string(),
                None => "*".to_owned(),
            });
            first_three(&ports.collect::<Vec<_>>(), "<unset>")
        }),
        Column::computed("Endpoints", "Its addresses.", |one, _| {
            let addresses = items(one, "/endpoints").flat_map(|endpoint| items(endpoint, "/addresses"));
            let addresses = addresses.filter_map(Value::as_str).map(str::to_owned);
            first_three(&addresses.collect::<Vec<_>>(), "<unset>")
        }),
        age(),
    ]
}
