// Keeps strings in a container that its static destructors free when the program ends: a leak all the same.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <vector>

struct Cache {
    std::vector<std::string> lines;
    std::map<int, std::unique_ptr<std::vector<char>>> pages;
    ~Cache() { std::printf("%zu lines and %zu pages are freed\n", lines.size(), pages.size()); }
};
static Cache cache;

__attribute__((noinline)) void keep_a_line() { cache.lines.push_back(std::string(3000, 'x')); }
__attribute__((noinline)) void keep_a_page(int number) { cache.pages[number] = std::make_unique<std::vector<char>>(3000); }

int main(int, char **words)
{
    const std::string how = words[1];
    for (int i = 0; i < 3000; i++) {
        keep_a_line();
        keep_a_page(i);
        timespec nap{0, 1000000};
        nanosleep(&nap, nullptr);
    }
    if (how == "exit") std::exit(0);
    if (how == "quick_exit") std::quick_exit(0);
    if (how == "_exit") std::_Exit(0);
    if (how == "clear") cache.lines.clear();
}
