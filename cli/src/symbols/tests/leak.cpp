// Names that are mangled: namespaces, templates, an anonymous namespace, an operator, a lambda.
#include <cstdlib>

namespace mesh {
struct Packet {
    void *payload;
    explicit Packet(std::size_t bytes) : payload(std::malloc(bytes)) {}
    Packet &operator+=(int bytes);
};

__attribute__((noinline)) Packet &Packet::operator+=(int bytes) {
    payload = std::realloc(payload, bytes);
    return *this;
}

template <typename T> __attribute__((noinline)) T *keep(T value) {
    return new T(value);
}
} // namespace mesh

namespace {
__attribute__((noinline)) mesh::Packet *receive(int bytes) {
    auto sized = [](int wanted) { return mesh::Packet(wanted); };
    return mesh::keep(sized(bytes));
}
} // namespace

int main(int argc, char **) {
    mesh::Packet *packet = receive(argc * 64);
    *packet += argc;
    return *mesh::keep<long>(argc) == 0;
}
