// Command messages prints the protobuf messages of Kubernetes' kinds as a table that controller/apiserver decodes by:
//
//	go run ./messages > ../../controller/apiserver/src/protobuf/messages.txt
//
// It reads the Go types themselves: their struct tags say the number on the wire, the name in JSON and what Go's JSON leaves out.
// To be run again when go.mod names another release of Kubernetes.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"reflect"
	"slices"
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// leaves are the types that have a form of their own in JSON.
var leaves = map[string]string{
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":                                             "time",
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":                                        "microTime",
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":                                         "json",
	"k8s.io/apimachinery/pkg/api/resource.Quantity":                                         "quantity",
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString":                                       "intOrText",
	"k8s.io/apimachinery/pkg/runtime.RawExtension":                                          "json",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON":                         "json",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray":       "schemaOrSchemas",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool":        "schemaOrBool",
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray": "schemaOrTexts",
}

// writer prints messages, each once, with those that they contain.
type writer struct {
	out  *bufio.Writer
	done map[reflect.Type]bool
	todo []reflect.Type
}

func main() {
	if err := apiextensions.AddToScheme(scheme.Scheme); err != nil {
		log.Fatal(err)
	}
	w := writer{out: bufio.NewWriter(os.Stdout), done: map[reflect.Type]bool{}}
	fmt.Fprintln(w.out, "# The protobuf messages of Kubernetes' kinds (k8s.io/api, k8s.io/apimachinery and k8s.io/apiextensions-apiserver,")
	fmt.Fprintln(w.out, "# Apache-2.0), printed by tests/kubernetes-home/messages; not to be edited.")
	types := scheme.Scheme.AllKnownTypes()
	for _, kind := range kinds(types) {
		fmt.Fprintf(w.out, "kind %s %s %s\n", kind.GroupVersion(), kind.Kind, w.name(types[kind]))
	}
	// Clients write it under the version of whatever they delete.
	fmt.Fprintf(w.out, "kind * DeleteOptions %s\n", w.name(reflect.TypeFor[meta.DeleteOptions]()))
	for len(w.todo) > 0 {
		slices.SortFunc(w.todo, func(a, b reflect.Type) int { return strings.Compare(named(a), named(b)) })
		next := w.todo
		w.todo = nil
		for _, message := range next {
			w.message(message)
		}
	}
	if err := w.out.Flush(); err != nil {
		log.Fatal(err)
	}
}

// unserved are groups of which our server has nothing.
var unserved = []string{"imagepolicy.k8s.io", "resource.k8s.io"}

// kinds are those of stable versions that have metadata of their own, in order.
func kinds(types map[schema.GroupVersionKind]reflect.Type) []schema.GroupVersionKind {
	var all []schema.GroupVersionKind
	for kind, of := range types {
		_, single := of.FieldByName("ObjectMeta")
		stable := kind.Version == "v1" || kind == schema.GroupVersionKind{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"}
		if single && stable && !slices.Contains(unserved, kind.Group) {
			all = append(all, kind)
		}
	}
	slices.SortFunc(all, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// name is how the table calls a message, which it will contain.
func (w *writer) name(of reflect.Type) string {
	if !w.done[of] {
		w.done[of] = true
		w.todo = append(w.todo, of)
	}
	return named(of)
}

// named is the group, the version and the type's own name.
func named(of reflect.Type) string {
	parts := strings.Split(of.PkgPath(), "/")
	return strings.Join(append(parts[len(parts)-2:], of.Name()), ".")
}

func (w *writer) message(of reflect.Type) {
	fmt.Fprintf(w.out, "message %s\n", named(of))
	for index := range of.NumField() {
		field := of.Field(index)
		tag := strings.Split(field.Tag.Get("protobuf"), ",")
		if len(tag) < 2 {
			continue // apiVersion and kind stand in the envelope.
		}
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		pointer := field.Type.Kind() == reflect.Pointer
		if name == "" {
			if !field.Anonymous {
				log.Fatalf("%s.%s has no name in JSON", of, field.Name)
			}
			name = "-" // Its fields stand among those around it.
		}
		kept := ""
		if pointer || !strings.Contains(options, "omitempty") {
			kept = " kept"
		}
		fmt.Fprintf(w.out, "  %s %s %s%s\n", name, tag[1], w.shape(field.Type), kept)
	}
}

// shape says what a field holds.
func (w *writer) shape(of reflect.Type) string {
	if leaf, known := leaves[of.PkgPath()+"."+of.Name()]; known {
		return leaf
	}
	switch of.Kind() {
	case reflect.Pointer:
		return w.shape(of.Elem())
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "bool"
	case reflect.Int32, reflect.Int64:
		return "int"
	case reflect.Float64:
		return "number"
	case reflect.Struct:
		return w.name(of)
	case reflect.Slice:
		if of.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "[]" + w.shape(of.Elem())
	case reflect.Map:
		value := of.Elem()
		if value.Kind() == reflect.Slice && value.Elem().Kind() == reflect.String {
			return "{}texts" // ExtraValue: a message with a list of strings.
		}
		return "{}" + w.shape(value)
	}
	log.Fatalf("no shape for %s", of)
	return ""
}
