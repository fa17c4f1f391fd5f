// Eight threads of C++, each with containers of its own, some of which it gives to the others; threads that ended.
#include <chrono>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

static std::mutex lock;
static std::vector<std::unique_ptr<std::string>> shared;

static void work(int seconds, int number) {
    volatile char deep[200000];
    for (size_t i = 0; i < sizeof deep; i += 4096) deep[i] = 1;
    std::unordered_map<int, std::string> table;
    for (int i = 0; i < 20000; i++) table.emplace(i, std::string(size_t(20 + i % 100), 'x'));
    for (int i = 0; i < 20000; i += 2) table.erase(i);
    std::vector<double> numbers(size_t(200000 + number), 1.5);
    for (int i = 0; i < 2000; i++) {
        std::lock_guard<std::mutex> held(lock);
        shared.push_back(std::make_unique<std::string>(300, 'y'));
    }
    std::this_thread::sleep_for(std::chrono::seconds(seconds));
}

int main(int count, char **words) {
    int seconds = count > 1 ? std::atoi(words[1]) : 3;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; i++) threads.emplace_back(work, 0, i);
    for (auto &thread : threads) thread.join();
    threads.clear();
    for (int i = 0; i < 8; i++) threads.emplace_back(work, seconds, i);
    for (auto &thread : threads) thread.join();
}
