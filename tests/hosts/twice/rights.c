// Gives up rights, changes roots and namespaces, forbids itself system calls; and works on.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void nap(int milliseconds)
{
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    nanosleep(&left, NULL);
}

static void works(int rounds)
{
    for (int i = 0; i < rounds; i++) { memset(malloc(100000), 1, 100000); nap(50); }
}

static const char *outcome(long failed) { return failed ? strerrorname_np(errno) : "works"; }

// Kills the process at each of these calls; or at all but these, when `rest` says so.
static int forbid(const int *calls, int count, int rest)
{
    struct sock_filter filter[64];
    int used = 0;
    filter[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < count; i++) {
        filter[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
        filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, rest ? SECCOMP_RET_ALLOW : SECCOMP_RET_KILL_PROCESS);
    }
    filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, rest ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ALLOW);
    struct sock_fprog program = {used, filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    setvbuf(stdout, NULL, _IONBF, 0);
    free(malloc(1)); // asks the kernel for a random number, once
    nap(1200);
    if (!strcmp(what, "no_openat")) {
        const int calls[] = {SYS_openat, SYS_openat2, SYS_socket, SYS_connect, SYS_clone, SYS_clone3, SYS_fork, SYS_vfork, SYS_execve,
            SYS_unlink, SYS_rename, SYS_readlink, SYS_newfstatat, SYS_memfd_create, SYS_epoll_ctl, SYS_kill, SYS_tgkill};
        printf("filter %s\n", outcome(forbid(calls, sizeof calls / sizeof *calls, 0)));
        works(30);
        puts("lives");
        return 0;
    }
    if (!strcmp(what, "strict")) {
        // What glibc's own malloc, printf and the end need, and futex: nothing else.
        const int calls[] = {SYS_write, SYS_exit_group, SYS_futex, SYS_brk, SYS_mmap, SYS_munmap, SYS_mremap, SYS_madvise, SYS_mprotect,
            SYS_clock_nanosleep, SYS_nanosleep, SYS_rt_sigreturn};
        printf("filter %s\n", outcome(forbid(calls, sizeof calls / sizeof *calls, 1)));
        works(30);
        puts("lives");
        return 0;
    }
    if (!strcmp(what, "mode_strict")) {
        // Only read, write, exit and sigreturn are left.
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)) puts("no");
        for (int i = 0; i < 400; i++) free(malloc(i * 20));
        if (write(1, "lives\n", 6) < 0) {}
        syscall(SYS_exit, 0);
    }
    if (!strcmp(what, "unshare_user")) printf("user namespace %s\n", outcome(unshare(CLONE_NEWUSER)));
    if (!strcmp(what, "unshare_user")) printf("ids %d %d\n", getuid(), getgid());
    if (!strcmp(what, "unshare_all"))
        printf("namespaces %s\n", outcome(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET)));
    if (!strcmp(what, "unshare_vm")) printf("memory and signals %s\n", outcome(unshare(CLONE_SIGHAND | CLONE_VM | CLONE_FILES | CLONE_FS)));
    if (!strcmp(what, "setns")) {
        int ours = open("/proc/self/ns/user", O_RDONLY), mounts = open("/proc/self/ns/mnt", O_RDONLY);
        printf("unshare %s\n", outcome(unshare(CLONE_NEWNS)));
        printf("back to the mounts %s\n", outcome(setns(mounts, CLONE_NEWNS)));
        // Into its own one is refused, with threads by another error.
        printf("its own user namespace %s\n", outcome(setns(ours, CLONE_NEWUSER)));
    }
    if (!strcmp(what, "setuid")) {
        printf("setgid %s\n", outcome(setresgid(65534, 65534, 65534)));
        printf("setuid %s\n", outcome(setresuid(65534, 65534, 65534)));
    }
    if (!strcmp(what, "chroot")) {
        mkdir("jail", 0700);
        printf("chroot %s\n", outcome(chroot("jail") || chdir("/")));
        printf("setuid %s\n", outcome(setresuid(65534, 65534, 65534)));
    }
    if (!strcmp(what, "mounts")) {
        // Nothing of what was there can be reached by name any more.
        mkdir("root", 0700);
        printf("unshare %s\n", outcome(unshare(CLONE_NEWNS)));
        printf("private %s\n", outcome(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)));
        printf("mount %s\n", outcome(mount("none", "root", "tmpfs", 0, NULL)));
        printf("root %s\n", outcome(chdir("root") || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH)));
    }
    if (!strcmp(what, "deleted")) {
        mkdir("gone", 0700);
        if (chdir("gone")) return 97;
        rmdir("../gone");
        char path[4096];
        printf("getcwd %s\n", outcome(!getcwd(path, sizeof path)));
    }
    if (!strcmp(what, "undumpable")) printf("dumpable %s\n", outcome(prctl(PR_SET_DUMPABLE, 0)));
    if (!strcmp(what, "umask")) { umask(0777); }
    works(30);
    puts("lives");
    return 0;
}
