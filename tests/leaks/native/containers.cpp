// C++ programs that leak through containers and pointers; the argument says which.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pace.h"

namespace {

struct Session {
    std::string payload;
    std::shared_ptr<Session> peer;
};

// Never destroyed: what leaks does so to the end.
std::vector<std::string> &journal() {
    static auto *lines = new std::vector<std::string>;
    return *lines;
}

std::map<long, std::string> &index_of_all() {
    static auto *index = new std::map<long, std::string>;
    return *index;
}

void write_journal(long number) {
    journal().push_back(std::string(4000, static_cast<char>('a' + number % 26)));  // leak: vector
}

void write_index(long number) {
    index_of_all().emplace(number, std::string(4000, 'x'));  // leak: map
}

void make_session(long) {
    auto one = std::make_shared<Session>(), other = std::make_shared<Session>();
    one->payload.assign(4000, 'x');  // leak: shared-cycle
    one->peer = other;
    other->peer = one;
}

}  // namespace

int main(int count, char **words) {
    const std::string which = count > 1 ? words[1] : "";
    setvbuf(stdout, nullptr, _IOLBF, 0);
    if (which == "vector") {
        journal().reserve(1 << 16);
        pace_run(write_journal, 4016);
    } else if (which == "map") {
        pace_run(write_index, 4016 + 88);
    } else if (which == "shared-cycle") {
        pace_run(make_session, 4016 + 160);
    } else {
        return 2;
    }
    return 0;
}
